import { hostname } from 'node:os';
import { KeelsonError } from '../ground/errors.ts';
import type { Context } from '../ground/context.ts';
import { adjustCapabilities, capabilityNames, defaultCapabilities } from '../kernel/capabilities.ts';
import { signalNumber } from '../kernel/signals.ts';
import { containerEvent } from './container-events.ts';
import { copyUp, needCopyUp } from './copy-up.ts';
import { hostCapacity } from './host-capacity.ts';
import { mergeConfig } from './merge-config.ts';
import { parseVolumesFrom, resolveMounts } from './mounts.ts';
import { checkName, printable, randomId, randomName, shortId } from './names.ts';
import { leaseKey, type ContainerImage, type Parts } from './parts.ts';
import type { ContainerRecord, ContainerSpec, ResolvedMount } from './record.ts';
import { removeLocked } from './remove-locked.ts';
import { limitsWithoutCgroup } from './run-plan.ts';
import { freezeSeccomp } from './seccomp-profile.ts';
import { linuxResources } from './spec-resources.ts';
import type { ContainerConfig } from './types.ts';
import { validateConfig } from './validate.ts';
import { anonymousLabel } from './volumes.ts';

/**
 * Makes a container: everything is checked first, then it is written down in one transaction, then new volumes get the image's
 * content. What fails leaves nothing.
 */
export async function create(
  parts: Parts,
  context: Context,
  config: ContainerConfig,
): Promise<{ id: string; warnings: readonly string[] }> {
  const name = config.name ? checkName(config.name) : undefined;
  const holder = name === undefined ? undefined : parts.records.byName(name);
  if (holder !== undefined) parts.records.insert({ ...holder, id: randomId() }); // says that the name is taken
  validateConfig(config, hostCapacity(parts.facts)); // the caller's own mistakes, before anything is pulled
  const { image, spec, warnings } = await context.span('image and configuration', async () =>
    draft(parts, context, config),
  );
  const id = randomId();
  warnings.push(...limitsWithoutCgroup(parts.facts, id, linuxResources(spec.config.resources ?? {})));
  using _ = await parts.leases.acquire(context, leaseKey(id), 'creating a container');
  const record = insert(parts, { id, name, image, spec });
  const empty = await needCopyUp(parts, record);
  if (empty.length > 0) {
    try {
      await context.span('copy to volumes', async () => copyUp(parts, context, record, empty));
    } catch (error) {
      await removeLocked(parts, context, record, { volumes: true });
      throw error;
    }
  }
  // A container that goes with its run is nobody's when the process that made it is killed before it started it.
  if (spec.config.autoRemove) parts.leases.claim(leaseKey(id), 'about to start it');
  parts.db.immediate(() => {
    parts.records.update(id, { phase: '' });
    containerEvent(parts, record, 'create');
  });
  return { id, warnings };
}

/** What a container would be made from: the image found, its defaults merged in, everything checked. Writes nothing. */
export async function draft(
  parts: Pick<Parts, 'images' | 'records' | 'facts'>,
  context: Context,
  config: ContainerConfig,
): Promise<{ image: ContainerImage; spec: ContainerSpec; warnings: string[] }> {
  const image = await parts.images.resolve(context, config.image, {
    ...(config.platform && { platform: config.platform }),
    ...(config.pull && { pull: config.pull }),
  });
  const { name: _, ...rest } = config;
  const merged = mergeConfig(rest, image.defaults);
  const warnings = validateConfig(merged.config, hostCapacity(parts.facts));
  const complete = await freezeSeccomp(withDefaults(parts, merged.config));
  if (complete.stopSignal) signalNumber(complete.stopSignal);
  const given = capabilityNames.filter((_name, number) => parts.facts.capabilities.effective.includes(number));
  adjustCapabilities(defaultCapabilities, complete.capAdd ?? [], complete.capDrop ?? [], given);
  const inherited = inheritedMounts(parts, complete);
  const mounts = await resolveMounts(complete.mounts ?? [], merged.imageVolumes, inherited);
  const { path, args } = merged;
  return { image, spec: { config: complete, path, args, mounts }, warnings: [...warnings] };
}

/** What docker fills in, so that `inspect` shows what counts. */
function withDefaults(parts: Pick<Parts, 'records'>, config: ContainerConfig): ContainerConfig {
  const { memory = 0, memorySwap = 0 } = config.resources ?? {};
  const shared = hostnameOfShared(parts, config);
  return {
    ...config,
    network: config.network ?? 'bridge',
    ...(shared !== undefined && !config.hostname && { hostname: shared }),
    ipcMode: config.ipcMode || 'private',
    cgroupnsMode: config.cgroupnsMode ?? 'private',
    shmSize: config.shmSize || 64 << 20,
    logDriver: config.logDriver ?? 'json-file',
    restart: config.restart ?? { name: 'no', maximumRetryCount: 0 },
    resources: { ...config.resources, ...(memory > 0 && memorySwap === 0 && { memorySwap: memory * 2 }) },
  };
}

/** Whose network (or UTS namespace) it has, their name it has: the host's, or that of another container. */
function hostnameOfShared(parts: Pick<Parts, 'records'>, config: ContainerConfig): string | undefined {
  if (config.network === 'host' || config.utsMode === 'host') return hostname();
  if (!config.network?.startsWith('container:')) return undefined;
  const other = parts.records.find(config.network.slice('container:'.length));
  return other.spec.config.hostname || shortId(other.id);
}

/** Mounts of other containers, by `--volumes-from`; the later one counts where two have the same target. */
function inheritedMounts(parts: Pick<Parts, 'records'>, config: ContainerConfig): ResolvedMount[] {
  return (config.volumesFrom ?? []).flatMap((word) => {
    const { id, readOnly } = parseVolumesFrom(word);
    const { mounts } = parts.records.find(id).spec;
    return mounts
      .filter((mount) => mount.type !== 'tmpfs')
      .map((mount) => ({ ...mount, readOnly: mount.readOnly || readOnly, anonymous: false, fromImage: false }));
  });
}

/** The row, its volumes' rows and what it uses of them, all or nothing. Phase `creating`, until the volumes are filled. */
function insert(
  parts: Parts,
  made: { id: string; name: string | undefined; image: ContainerImage; spec: ContainerSpec },
): ContainerRecord {
  const { id, image, spec } = made;
  const volumes = spec.mounts.filter((mount) => mount.type === 'volume');
  for (let attempt = 0; ; attempt++) {
    const name = made.name ?? randomName(attempt);
    try {
      parts.records.insert(
        { id, name, imageId: image.id, spec, createdAt: Date.now(), state: 'created', phase: 'creating' },
        () => {
          parts.images.checkThere(image.id);
          for (const mount of volumes) {
            const labels = mount.anonymous
              ? { [anonymousLabel]: '', ...mount.volumeLabels }
              : (mount.volumeLabels ?? {});
            parts.volumes.ensureRow(mount.name, labels);
            parts.volumes.use(mount.name, id);
          }
        },
      );
      const record = parts.records.get(id);
      if (record === undefined)
        throw new KeelsonError('internal', `container ${printable(name)} vanished while it was made`);
      return record;
    } catch (error) {
      const taken = error instanceof KeelsonError && error.code === 'already-exists';
      if (!taken || made.name !== undefined || attempt > 20) throw error;
    }
  }
}
