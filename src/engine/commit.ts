import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { applyChanges } from '../image/config-changes.ts';
import { formatReference, parseReference } from '../image/reference.ts';
import type { ContainerDefaults } from '../spec/image.ts';
import { containerEvent } from './container-events.ts';
import type { Parts } from './parts.ts';
import { pause, unpause } from './pause.ts';
import type { ContainerRecord } from './record.ts';
import type { ContainerConfig } from './types.ts';
import { current } from './with-container.ts';

export interface CommitOptions {
  readonly reference?: string;
  readonly author?: string;
  readonly message?: string;
  /** Dockerfile instructions that change the new image's config. */
  readonly changes?: readonly string[];
  /** Freeze the container meanwhile, where it runs; the default. */
  readonly pause?: boolean;
}

/** Makes an image of what the container has changed, on top of its own. Returns the image's id. */
export async function commit(
  parts: Parts,
  context: Context,
  reference: string,
  options: CommitOptions,
): Promise<string> {
  const record = await current(parts, context, reference);
  if (record.state === 'removing' || record.state === 'dead') {
    throw new KeelsonError('conflict', `You cannot commit container ${record.id} which is being removed`);
  }
  const names = options.reference ? [formatReference(named(options.reference))] : [];
  const pausing = record.state === 'running' && options.pause !== false;
  if (pausing) await pause(parts, context, record.id);
  try {
    const id = await parts.images.commit(context, record.id, record.imageId, {
      names,
      ...(options.author && { author: options.author }),
      defaults: () => applyChanges(defaultsOf(record), options.changes ?? []),
      history: {
        created: new Date().toISOString(),
        created_by: [record.spec.path, ...record.spec.args].join(' '),
        ...(options.message && { comment: options.message }),
        ...(options.author && { author: options.author }),
      },
      doing: `committing ${record.name}`,
    });
    containerEvent(parts, record, 'commit', { imageID: id, imageRef: names[0] ?? '', comment: options.message ?? '' });
    return id;
  } finally {
    if (pausing) await unpause(parts, context, record.id).catch(() => {}); // it may have been stopped meanwhile
  }
}

function named(reference: string): ReturnType<typeof parseReference> {
  const parsed = parseReference(reference);
  if (parsed.digest !== undefined) {
    throw new KeelsonError('invalid-argument', 'refusing to create a tag with a digest reference');
  }
  return parsed;
}

/** The container's configuration as an image's: what the image below said, and what was said to create it. */
function defaultsOf(record: ContainerRecord): ContainerDefaults {
  const { config, mounts } = record.spec;
  const { entrypoint = [], command = [], env = [], labels = {}, exposedPorts = [] } = config;
  const volumes = mounts.filter((mount) => mount.type === 'volume').map((mount) => mount.target);
  return {
    ...(config.user && { User: config.user }),
    ...(exposedPorts.length > 0 && { ExposedPorts: Object.fromEntries(exposedPorts.map(portEntry)) }),
    Env: env.filter((entry) => entry.includes('=')),
    ...(entrypoint.length > 0 && { Entrypoint: entrypoint }),
    ...(command.length > 0 && { Cmd: command }),
    ...(volumes.length > 0 && { Volumes: Object.fromEntries(volumes.map((target) => [target, {}])) }),
    ...(config.workingDir && { WorkingDir: config.workingDir }),
    ...(Object.keys(labels).length > 0 && { Labels: labels }),
    ...(config.stopSignal && { StopSignal: config.stopSignal }),
  };
}

function portEntry(port: NonNullable<ContainerConfig['exposedPorts']>[number]): [string, object] {
  return [`${port.port}/${port.protocol}`, {}];
}
