/** A bundle's config.json, checked against the specification and against what can be told of it before anything is made. */
import { statSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { isKeelsonError, KeelsonError } from '../../ground/errors.ts';
import { readRegularFile } from '../../ground/read-regular-file.ts';
import { type HostFacts, subordinateIds } from '../../kernel/facts.ts';
import { parseConfig } from '../../spec/config.ts';
import type { Process, Spec } from '../../spec/runtime.ts';
import { type CheckOptions, checkSpec, invalid } from './check-spec.ts';
import { withDefaultMaps, withPlainMounts } from './plain-spec.ts';

export interface Bundle {
  readonly path: string;
  readonly spec: Spec;
  readonly process: Process;
  readonly text: string;
  readonly rootfs: string;
}

const maxConfig = 16 << 20;

export interface LoadOptions extends CheckOptions {
  /** The file's name, from the bundle; config.json. */
  readonly config?: string | undefined;
  /** It is to be started, too, which needs a process. */
  readonly start: boolean;
  readonly facts: HostFacts;
}

/** A container without a process can be created; `start` refuses it. */
const noProcess: Process = { user: { uid: 0, gid: 0 }, cwd: '/' };

export function loadBundle(path: string, options: LoadOptions): Bundle {
  const { config = 'config.json' } = options;
  const file = resolve(path, config);
  let text: string;
  try {
    text = readRegularFile(file, maxConfig);
  } catch (error) {
    if (isKeelsonError(error, 'not-found'))
      throw new KeelsonError('not-found', `JSON specification file ${file} not found`, { cause: error });
    throw error;
  }
  const spec = withDefaultMaps(parseConfig(text), options.facts, subordinateIds);
  const process = spec.process ?? (options.start ? undefined : noProcess);
  if (!process) throw invalid('process', 'is missing', 'config.md#process');
  if (process !== noProcess && !process.args?.length)
    throw invalid('process.args', 'must not be empty', 'config.md#process');
  const rootfs = isAbsolute(spec.root.path) ? resolve(spec.root.path) : resolve(path, spec.root.path);
  const found = statSync(rootfs, { throwIfNoEntry: false });
  if (!found) throw invalid('root.path', `rootfs (${rootfs}) does not exist`, 'config.md#root');
  if (!found.isDirectory()) throw invalid('root.path', `rootfs (${rootfs}) is not a directory`, 'config.md#root');
  const plain = withPlainMounts(spec, path, rootfs);
  checkSpec(plain, options);
  return { path, spec: plain, process, text, rootfs };
}
