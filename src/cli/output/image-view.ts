import type { ImageSummary } from '../../image/types.ts';
import { familiarReference } from '../../image/reference.ts';
import { View } from '../template/values.ts';
import { shortId } from './container-view.ts';
import { humanSize } from './units.ts';
import { ago, localTime } from './when.ts';

export function imageTable(digests: boolean): string {
  const digest = digests ? '\t{{.Digest}}' : '';
  return `table {{.Repository}}\t{{.Tag}}${digest}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}`;
}

export const imageHeaders: Readonly<Record<string, string>> = {
  ID: 'IMAGE ID',
  Repository: 'REPOSITORY',
  Tag: 'TAG',
  Digest: 'DIGEST',
  CreatedSince: 'CREATED',
  CreatedAt: 'CREATED AT',
  Size: 'SIZE',
  Containers: 'CONTAINERS',
  VirtualSize: 'VIRTUAL SIZE',
  SharedSize: 'SHARED SIZE',
  UniqueSize: 'UNIQUE SIZE',
};

/** A line of `images`: an image under one of its names. */
export interface ImageRow {
  readonly image: ImageSummary;
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
}

const none = '<none>';

/** Splits what is shown of a name: `alpine:3` or `alpine@sha256:…`. */
function split(name: string, separator: ':' | '@'): readonly [string, string] {
  const at = name.lastIndexOf(separator);
  return [name.slice(0, at), name.slice(at + 1)];
}

/**
 * The lines of an image: one for each tag; with `digests` each beside the digest that its repository knows it by. An image without a
 * tag shows the repository it came from, where that is known.
 */
export function imageRows(image: ImageSummary, digests: boolean): ImageRow[] {
  const byRepository = new Map(image.digests.map((name) => split(familiarReference(name), '@')));
  const tagged = image.tags.map((name) => {
    const [repository, tag] = split(familiarReference(name), ':');
    return { image, repository, tag, digest: byRepository.get(repository) ?? none };
  });
  const covered = new Set(tagged.map(({ repository }) => repository));
  const untagged = [...byRepository]
    .filter(([repository]) => !covered.has(repository) && (digests || tagged.length === 0))
    .map(([repository, digest]) => ({ image, repository, tag: none, digest }));
  const rows = [...tagged, ...untagged];
  return rows.length > 0 ? rows : [{ image, repository: none, tag: none, digest: none }];
}

/** What only `system df -v` knows of an image. */
export interface ImageUsage {
  readonly containers: string;
  readonly shared: string;
  readonly unique: string;
}

const unknown: ImageUsage = { containers: 'N/A', shared: 'N/A', unique: 'N/A' };

/** An image as `images --format` sees it. */
export function imageView(row: ImageRow, truncate: boolean, usage: ImageUsage = unknown): View {
  const { image, repository, tag, digest } = row;
  return new View('*formatter.imageContext', {
    Containers: () => usage.containers,
    CreatedAt: () => (image.createdAt === 0 ? 'N/A' : localTime(image.createdAt)),
    CreatedSince: () => (image.createdAt === 0 ? 'N/A' : ago(image.createdAt)),
    Digest: () => digest,
    ID: () => (truncate ? shortId(image.id) : image.id),
    Repository: () => repository,
    SharedSize: () => usage.shared,
    Size: () => humanSize(image.size, 3),
    Tag: () => tag,
    UniqueSize: () => usage.unique,
    VirtualSize: () => humanSize(image.size),
  });
}
