import { KeelsonError } from '../ground/errors.ts';
import { read } from '../spec/image.ts';
import { list, object, optional, required, text } from '../spec/shape.ts';
import { formatReference, parseReference } from './reference.ts';

/** One image of docker's manifest.json. */
export interface DockerEntry {
  /** Paths in the archive. */
  readonly config: string;
  readonly layers: readonly string[];
  /** Normalised. */
  readonly names: string[];
}

const shape = list(
  object<{ Config: string; RepoTags?: readonly string[]; Layers: readonly string[] }>('', {
    Config: required(text),
    RepoTags: optional(list(text, { max: 1000 })),
    Layers: required(list(text, { max: 500 })),
  }),
  { max: 1000 },
);

/** Reads manifest.json (docker image save, since 1.10); none where there is no such document. */
export function dockerEntries(document: unknown, what: string): DockerEntry[] {
  if (document === undefined) return [];
  return read(shape, document, `${what}: manifest.json`).map(({ Config, RepoTags = [], Layers }) => ({
    config: Config,
    layers: Layers,
    names: RepoTags.map((tag) => {
      const reference = parseReference(tag);
      if (reference.digest !== undefined) {
        throw new KeelsonError('corrupt', `${what}: manifest.json: ${JSON.stringify(tag)} is not a name with a tag`);
      }
      return formatReference(reference);
    }),
  }));
}
