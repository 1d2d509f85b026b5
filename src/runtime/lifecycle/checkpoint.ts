/** `checkpoint`: CRIU writes a container's processes to files. */
import { readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KeelsonError } from '../../ground/errors.ts';
import type { LinuxNamespaceType, Spec } from '../../spec/runtime.ts';
import { criuRequest, encodeMessage, type Fields } from '../criu-messages.ts';
import { criuPlan, type CriuConversation } from '../criu-plan.ts';
import { isAlive, statusOf } from './container-state.ts';
import {
  commonFields,
  type CriuOptions,
  ensureDirectory,
  externalKey,
  externalMounts,
  externalNamespaces,
  findCriu,
  pairs,
  tellErrors,
} from './criu.ts';
import { deleteContainer } from './delete.ts';
import type { Host } from './host.ts';
import { ownGroups } from './own-groups.ts';
import { specOf } from './start.ts';
import type { Found } from './state-store.ts';

export interface CheckpointOptions extends CriuOptions {
  /** Of an earlier one, relative to `images`. */
  readonly parent?: string;
  readonly preDump: boolean;
  readonly leaveRunning: boolean;
  readonly tcpSkipInFlight: boolean;
  readonly linkRemap: boolean;
  readonly pageServer?: { readonly address: string; readonly port: number };
  /** A descriptor of the caller's: a NUL when pages can be fetched. */
  readonly statusFd?: number;
}

/** In the directory of images: what the standard streams were. */
export const descriptorsFile = 'descriptors.json';

export async function checkpointContainer(host: Host, found: Found, options: CheckpointOptions): Promise<void> {
  const { state } = found;
  const status = statusOf(state, found.files);
  if (status === 'created' || status === 'stopped' || status === 'creating')
    throw new KeelsonError('conflict', `Container cannot be checkpointed in ${status} state`);
  const spec = specOf(found);
  const base = { arch: host.facts.arch, program: findCriu(host, options.program), env: criuEnvironment(host) };
  ensureDirectory(options.images);
  if (options.work !== undefined) ensureDirectory(options.work);
  if (options.preDump || options.lazyPages) await checkFeatures(host, base, options);
  if (!options.preDump)
    writeFileSync(join(options.images, descriptorsFile), JSON.stringify(streamsOf(state.init_process_pid)), {
      mode: 0o600,
    });
  const type = options.preDump ? criuRequest.preDump : criuRequest.dump;
  const plan = criuPlan({
    ...base,
    images: options.images,
    ...(options.work !== undefined && { work: options.work }),
    inherited: [],
    before: () => undefined,
    prepare() {},
    request(known) {
      if (!isAlive(state)) throw new KeelsonError('conflict', 'container not running');
      const fields: Fields = [
        ...commonFields(options, known, spec, 'dump.log'),
        ...dumpFields(found, options),
        ...(options.preDump ? [] : mountFields(host, found, spec)),
        [37, external(spec)],
      ];
      return encodeMessage([
        [1, type],
        [2, encodeMessage(fields)],
      ]);
    },
    notify(chunk, { script }) {
      if (script === 'status-ready' && options.statusFd !== undefined) {
        chunk.write(options.statusFd, '\0');
        chunk.sys('close', [options.statusFd]);
      }
    },
    done() {},
  });
  try {
    await host.runner.run(plan.plan, { onSync: (message) => plan.reply(message) });
  } catch (error) {
    tellErrors(host, join(options.work ?? options.images, 'dump.log'));
    throw error;
  }
  if (!options.preDump && !options.leaveRunning) await deleteContainer(host, found, { force: true });
}

function dumpFields({ state }: Found, options: CheckpointOptions): Fields {
  const freezer =
    state.cgroup_paths['freezer'] ?? (state.keelson.cgroup?.version === 2 ? state.cgroup_paths[''] : undefined);
  const { pageServer } = options;
  return [
    [2, state.init_process_pid],
    [3, options.leaveRunning],
    [
      11,
      pageServer &&
        encodeMessage([
          [1, pageServer.address],
          [2, pageServer.port],
        ]),
    ],
    [13, state.config.rootfs],
    [14, options.parent],
    [15, options.parent === undefined ? undefined : true],
    [18, options.linkRemap],
    [44, freezer],
    [46, options.tcpSkipInFlight],
  ];
}

function mountFields(host: Host, { state }: Found, spec: Spec): Fields {
  const rootfs = `/proc/${state.init_process_pid}/root`;
  const mounts = externalMounts(spec, state.config.rootfs, ownGroups(spec, state.keelson.cgroup, host.facts));
  const masked = (spec.linux?.maskedPaths ?? []).filter(
    (path) => statSync(join(rootfs, path), { throwIfNoEntry: false })?.isDirectory() === false,
  );
  return pairs(23, [
    ...mounts.map(([place]) => [place, place] as const),
    ...masked.map((path) => [path, '/dev/null'] as const),
  ]);
}

/** Namespaces that others own are there again when it is restored. */
function external(spec: Spec): string[] {
  const names: Partial<Record<LinuxNamespaceType, string>> = { network: 'net', pid: 'pid' };
  return externalNamespaces.flatMap((type) => {
    const path = spec.linux?.namespaces?.find((n) => n.type === type)?.path;
    return path === undefined ? [] : [`${names[type]}[${statSync(path).ino}]:${externalKey(type)}`];
  });
}

function streamsOf(pid: number): string[] {
  return [0, 1, 2].map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return '';
    }
  });
}

export function criuEnvironment({ environment }: Host): string[] {
  return Object.entries(environment).map(([name, value]) => `${name}=${value}`);
}

/** What the kernel has to have for the more unusual ways. */
async function checkFeatures(
  host: Host,
  base: Pick<CriuConversation, 'arch' | 'program' | 'env'>,
  { preDump, lazyPages }: CheckpointOptions,
): Promise<void> {
  const missing: string[] = [];
  const plan = criuPlan({
    ...base,
    inherited: [],
    before: () => undefined,
    prepare() {},
    request: () =>
      encodeMessage([
        [1, criuRequest.featureCheck],
        [
          5,
          encodeMessage([
            [1, preDump],
            [2, lazyPages],
          ]),
        ],
      ]),
    notify() {},
    done(_chunk, { features }) {
      if (preDump && !features.memoryTracking) missing.push('MemTrack');
      if (lazyPages && !features.lazyPages) missing.push('LazyPages');
    },
  });
  await host.runner.run(plan.plan, { onSync: (message) => plan.reply(message) });
  if (missing.length > 0)
    throw new KeelsonError(
      'unsupported',
      `CRIU is missing features: ${missing.join(' ')} (this kernel does not have them)`,
    );
}
