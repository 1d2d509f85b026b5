import { mkdirSync, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { fromSystemError, KeelsonError } from '../../../ground/errors.ts';
import { checkpointContainer } from '../../../runtime/lifecycle/checkpoint.ts';
import type { CriuOptions } from '../../../runtime/lifecycle/criu.ts';
import type { Flags, Parsed } from '../flags.ts';
import type { Command, Session } from '../session.ts';
import { containerId } from './create.ts';

const text = { kind: 'text' } as const;
const bool = { kind: 'bool' } as const;

/** What `restore` takes, too. */
export const criuFlags: Flags = {
  'image-path': text,
  'work-path': text,
  'tcp-established': bool,
  'ext-unix-sk': bool,
  'shell-job': bool,
  'file-locks': bool,
  'manage-cgroups-mode': text,
  'empty-ns': { kind: 'list' },
  'auto-dedup': bool,
  'lazy-pages': bool,
  'lsm-profile': text,
  'lsm-mount-context': text,
};

export const checkpoint: Command = {
  flags: {
    ...criuFlags,
    'parent-path': text,
    'leave-running': bool,
    'tcp-skip-in-flight': bool,
    'link-remap': bool,
    'status-fd': text,
    'page-server': text,
    'pre-dump': bool,
  },
  async run(session, args) {
    const { host } = session;
    warnUser(session);
    const found = host.store.find(containerId(args));
    const options = criuOptions(session, args);
    const server = args.text('page-server');
    const statusFd = args.number('status-fd');
    await checkpointContainer(host, found, {
      ...options,
      ...parent(options.images, args.text('parent-path')),
      preDump: args.bool('pre-dump'),
      leaveRunning: args.bool('leave-running'),
      tcpSkipInFlight: args.bool('tcp-skip-in-flight'),
      linkRemap: args.bool('link-remap'),
      ...(server !== undefined && server !== '' && { pageServer: address(server) }),
      ...(statusFd !== undefined && statusFd >= 0 && { statusFd }),
    });
    return 0;
  },
};

export function warnUser({ host }: Session): void {
  if (host.rootless.user || host.facts.inUserNamespace)
    host.warn('checkpoint and restore are untested with rootless containers');
}

export function criuOptions({ globals, path }: Session, args: Parsed): CriuOptions {
  const given = (name: string): string | undefined => args.text(name) || undefined;
  const program = globals.text('criu');
  const work = given('work-path');
  const images = path(given('image-path') ?? 'checkpoint');
  const profile = given('lsm-profile');
  const context = given('lsm-mount-context');
  for (const name of args.list('empty-ns'))
    if (name !== 'network') throw new KeelsonError('invalid-argument', `namespace "${name}" is not supported`);
  try {
    mkdirSync(images, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw fromSystemError(error, `making ${images}`);
  }
  return {
    images,
    ...(program && { program: path(program) }),
    ...(work !== undefined && { work: path(work) }),
    cgroupMode: args.text('manage-cgroups-mode') ?? '',
    tcpEstablished: args.bool('tcp-established'),
    externalUnixSockets: args.bool('ext-unix-sk'),
    shellJob: args.bool('shell-job'),
    fileLocks: args.bool('file-locks'),
    autoDedup: args.bool('auto-dedup'),
    lazyPages: args.bool('lazy-pages'),
    ...(profile !== undefined && { lsmProfile: profile }),
    ...(context !== undefined && { lsmMountContext: context }),
  };
}

function parent(images: string, given: string | undefined): { parent?: string } {
  if (given === undefined || given === '') return {};
  if (isAbsolute(given)) throw new KeelsonError('invalid-argument', '--parent-path must be relative');
  if (!statSync(join(images, given), { throwIfNoEntry: false })?.isDirectory())
    throw new KeelsonError('invalid-argument', `invalid --parent-path: ${join(images, given)} is not a directory`);
  return { parent: given };
}

/** `ADDRESS:PORT`, the address of version 6 in brackets. */
function address(server: string): { address: string; port: number } {
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(server) ?? [];
  const host = six ?? four;
  if (host === undefined || Number(port) > 65535)
    throw new KeelsonError('invalid-argument', 'Use --page-server ADDRESS:PORT to specify page server');
  return { address: host, port: Number(port) };
}
