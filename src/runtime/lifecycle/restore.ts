/** `restore`: a container from the files that `checkpoint` has written, its processes made by CRIU. */
import { mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromSystemError, KeelsonError } from '../../ground/errors.ts';
import { readText } from '../../kernel/cgroup.ts';
import { CLONE_NEWNS, MS_PRIVATE, MS_REC, MS_SLAVE, O_PATH, O_RDONLY, openFlags } from '../../kernel/constants.ts';
import { parseOwnCgroups } from '../../kernel/facts-cgroup.ts';
import type { Reg } from '../../kernel/plan.ts';
import type { PlanBuilder } from '../../kernel/plan-builder.ts';
import type { Spec } from '../../spec/runtime.ts';
import { createCgroup, enterCgroup, type CgroupHandle } from '../cgroup-steps.ts';
import { criuRequest, encodeMessage, type Fields } from '../criu-messages.ts';
import { criuPlan, inheritedDescriptor } from '../criu-plan.ts';
import { attach, cloneHostTree } from '../filesystem.ts';
import { runHooks } from '../hook-steps.ts';
import { ensureDirectory as ensureInRoot, ensureFile, openHost } from '../in-root.ts';
import { isBind } from '../mount-sources.ts';
import { sendDescriptor } from '../stdio.ts';
import { connectUnix } from '../unix-socket.ts';
import { extensionsOf } from './annotations.ts';
import { criuEnvironment, descriptorsFile } from './checkpoint.ts';
import { hookState } from './container-state.ts';
import { type Created, type CreateOptions, stateOf, withPid, writePidFile } from './create.ts';
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
import { discard } from './discard.ts';
import { hookOptions } from './hooks.ts';
import type { Host } from './host.ts';
import { ownGroups } from './own-groups.ts';
import { placeCgroup, type Placed } from './place-cgroup.ts';

const MS_BIND = 4096;

export type RestoreOptions = CriuOptions & Pick<CreateOptions, 'id' | 'bundle' | 'consoleSocket' | 'pidFile'>;

export async function restoreContainer(host: Host, options: RestoreOptions): Promise<Created> {
  const { spec, rootfs } = options.bundle;
  const program = findCriu(host, options.program);
  const streams = readStreams(options.images);
  const files = host.store.reserve(options.id);
  const root = join(files.directory, 'criu-root');
  let placed: Placed | undefined;
  try {
    mkdirSync(root, { mode: 0o755 });
    if (options.work !== undefined) ensureDirectory(options.work);
    placed = await placeCgroup(host, { id: options.id, spec });
    for (const warning of placed?.plan.warnings ?? []) host.warn(warning);
    writeFileSync(files.config, options.bundle.text, { mode: 0o600 });
  } catch (error) {
    host.store.remove(files);
    throw error;
  }
  let state = stateOf(options, placed, host);
  const groups = ownGroups(spec, placed?.cgroup, host.facts);
  const hooks = hookOptions(host, extensionsOf(spec), options.bundle.path);
  let console: Reg | undefined;
  let cgroup: CgroupHandle | undefined;
  let restored: { pid: number; pidfd: Reg; terminal?: Reg } | undefined;
  let terminal: Reg | undefined;
  let home: Reg | undefined;
  let pid = 0;
  const plan = criuPlan({
    arch: host.facts.arch,
    program,
    env: criuEnvironment(host),
    images: options.images,
    ...(options.work !== undefined && { work: options.work }),
    inherited: inheritedNamespaces(spec).map(({ path }) => path),
    before(b) {
      makeMountPoints(b, spec, rootfs);
      if (options.consoleSocket !== undefined)
        console = connectUnix(b, options.consoleSocket, `connecting to the console socket ${options.consoleSocket}`);
      if (placed && !placed.unit) cgroup = createCgroup(b, placed.plan);
      // What is mounted for CRIU is mounted where nobody else is, and where the files it gets are opened.
      b.group('root file system').doing('mounting the root file system for criu');
      home = openHost(b, '/proc/self/ns/mnt', O_RDONLY);
      b.sys('unshare', [CLONE_NEWNS]);
      b.sys('mount', [0, '/', 0, MS_SLAVE | MS_REC, 0]);
      b.sys('mount', [rootfs, root, 0, MS_BIND | MS_REC, 0]);
      return cgroup?.cloneInto;
    },
    prepare(b) {
      if (cgroup) enterCgroup(b, cgroup);
    },
    request: (known) =>
      encodeMessage([
        [1, criuRequest.restore],
        [
          2,
          encodeMessage([
            ...commonFields(options, known, spec, 'restore.log'),
            [6, true], // devices that are named differently now
            [13, root],
            [26, true], // the restored process is a child of ours
            ...pairs(23, [
              ...externalMounts(spec, rootfs, groups),
              ...(spec.linux?.maskedPaths?.length ? [['/dev/null', '/dev/null'] as const] : []),
            ]),
            [25, groupRoots(known.criu)],
            [27, inheritedFields(spec, streams)],
            [39, joinedNamespaces(spec)],
          ]),
        ],
      ]),
    notify(chunk, step, fd) {
      if (step.script === 'setup-namespaces') {
        state = withPid(state, step.pid);
        runHooks(chunk, 'prestart', spec.hooks?.prestart, hookState(state, 'creating'), hooks);
        runHooks(chunk, 'createRuntime', spec.hooks?.createRuntime, hookState(state, 'creating'), hooks);
      } else if (step.script === 'post-restore') {
        pid = step.pid;
        state = withPid({ ...state, created: new Date().toISOString() }, pid);
        host.store.save(files, state);
      } else if (step.script === 'orphan-pts-master') {
        if (console) sendDescriptor(chunk.doing('sending the terminal to the console socket'), console, fd);
        else terminal = fd;
      }
    },
    done(chunk) {
      if (home) chunk.sys('setns', [home, CLONE_NEWNS], { doing: 'going back to the mount namespace' });
      restored = { pid, pidfd: chunk.sys('pidfd_open', [pid, 0]), ...(terminal && { terminal }) };
    },
  });
  let asked = false;
  try {
    const result = await host.runner.run(plan.plan, {
      async onSync(message) {
        if (!asked) await placed?.unit?.start(Number(message.registers[2]));
        asked = true;
        return plan.reply(message);
      },
    });
    if (!restored || pid === 0) throw new KeelsonError('internal', 'criu has restored nothing');
    rmdirSync(root);
    if (options.pidFile !== undefined) writePidFile(options.pidFile, pid);
    const at = (reg: Reg) => Number(result.registers[reg.reg]);
    return {
      state,
      files,
      pid,
      pidfd: at(restored.pidfd),
      ...(restored.terminal && { terminal: at(restored.terminal) }),
      cgroup: placed?.plan,
    };
  } catch (error) {
    tellErrors(host, join(options.work ?? options.images, 'restore.log'));
    await discard(host, { state, files });
    throw error;
  }
}

function readStreams(images: string): readonly string[] {
  try {
    const list = JSON.parse(readFileSync(join(images, descriptorsFile), 'utf8')) as unknown;
    return Array.isArray(list) ? list.map(String) : [];
  } catch (error) {
    throw fromSystemError(error, `reading ${join(images, descriptorsFile)}`);
  }
}

/** As a creation makes them: in a mount namespace that is gone afterwards, so that those inside bind mounts can be made, too. */
function makeMountPoints(b: PlanBuilder, spec: Spec, rootfs: string): void {
  const onTmpfs = (path: string) =>
    spec.mounts?.some((m) => m.type === 'tmpfs' && path.startsWith(`${m.destination}/`));
  b.group('root file system').doing('making mount points');
  const child = b.clone({ flags: CLONE_NEWNS, name: 'mount_points', pidfd: false }, () => {
    b.sys('mount', [0, '/', 0, MS_PRIVATE | MS_REC, 0]);
    const root = openHost(b, rootfs, O_PATH | openFlags(b.arch).O_DIRECTORY);
    for (const mount of spec.mounts ?? []) {
      const { destination, source = '' } = mount;
      if (mount.type === 'cgroup' || onTmpfs(destination)) continue;
      b.doing(`making the mount point ${destination}`);
      const bind = isBind(mount);
      const file = bind && statSync(source, { throwIfNoEntry: false })?.isDirectory() === false;
      const target = file ? ensureFile(b, root, destination) : ensureInRoot(b, root, destination);
      if (bind) attach(b, cloneHostTree(b, source, { recursive: true }), target);
      b.sys('close', [target]);
    }
  });
  b.await(child.report);
  b.sys('wait4', [child.pid, 0, 0, 0]);
}

function inheritedNamespaces(spec: Spec): { key: string; path: string }[] {
  return externalNamespaces.flatMap((type) => {
    const path = spec.linux?.namespaces?.find((n) => n.type === type)?.path;
    return path === undefined ? [] : [{ key: externalKey(type), path }];
  });
}

/** Namespaces, and the standard streams that were pipes: the caller's take their place. */
function inheritedFields(spec: Spec, streams: readonly string[]): Buffer[] {
  const entry = (key: string, fd: number) =>
    encodeMessage([
      [1, key],
      [2, fd],
    ]);
  return [
    ...inheritedNamespaces(spec).map(({ key }, i) => entry(key, inheritedDescriptor(i))),
    ...streams.flatMap((name, fd) => (name.includes('pipe:') ? [entry(name, fd)] : [])),
  ];
}

function joinedNamespaces(spec: Spec): Buffer[] {
  const names = { mount: 'mnt', ipc: 'ipc', uts: 'uts', user: 'user', time: 'time', cgroup: 'cgroup' } as const;
  return (spec.linux?.namespaces ?? []).flatMap(({ type, path }) => {
    if (path === undefined || type === 'network' || type === 'pid') return [];
    if (type === 'cgroup')
      throw new KeelsonError('unsupported', 'criu cannot restore into a cgroup namespace that is there already');
    return [
      encodeMessage([
        [1, names[type]],
        [2, path],
      ]),
    ];
  });
}

/** Where CRIU is is where the container is to be. */
function groupRoots(criu: number): Buffer[] {
  return parseOwnCgroups(readText(`/proc/${criu}/cgroup`) ?? '').flatMap(({ controllers, path }) =>
    (controllers.length > 0 ? controllers : ['']).map((name) =>
      encodeMessage([
        [1, name],
        [2, path],
      ] satisfies Fields),
    ),
  );
}
