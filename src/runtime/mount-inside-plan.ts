/** The plan that changes the mounts of a running container: a process of the host's that goes into its namespaces and never comes out. */
import { MNT_DETACH, O_PATH, openFlags } from '../kernel/constants.ts';
import { parseMountOptions } from '../kernel/mount-flags.ts';
import type { Plan, Reg } from '../kernel/plan.ts';
import type { PlanMessage } from '../kernel/plan-answers.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import type { LinuxNamespaceType, Mount } from '../spec/runtime.ts';
import { openSource } from './bind-mounts.ts';
import { openHost, openIn } from './in-root.ts';
import { mountAll, type MountFacts } from './mounts.ts';
import { isBind } from './mount-sources.ts';
import { becomeRoot, cloneFlags } from './namespaces.ts';

export interface MountInsideInput {
  readonly arch: Plan['arch'];
  /** Of the container's first process. */
  readonly pid: number;
  /** Those of its namespaces that are not the caller's. */
  readonly namespaces: readonly LinuxNamespaceType[];
  readonly change: 'add' | 'remove';
  readonly mounts: readonly Mount[];
  readonly mountFacts: Omit<MountFacts, 'userNamespace' | 'ownNetwork' | 'ownPids'>;
}

export interface MountInsidePlan {
  readonly plan: Plan;
  /** Answers the plan's syncs; `confirm` is called for the first of them: whether the pidfd is of the process that was meant. */
  resume(message: PlanMessage, confirm: () => void): Plan;
}

export function mountInsidePlan(input: MountInsideInput): MountInsidePlan {
  const b = new PlanBuilder(input.arch);
  const { O_DIRECTORY } = openFlags(input.arch);
  b.group('namespaces').doing('finding the container');
  const init = b.sys('pidfd_open', [input.pid, 0]);
  b.sync(1, [], []);
  const userNamespace = input.namespaces.includes('user');
  const child = b.clone({ flags: 0n, name: 'mounter', pidfd: false }, () => {
    // Sources are of the host, and only seen there.
    const trees = new Map<Mount, Reg>();
    for (const mount of input.change === 'add' ? input.mounts.filter(isBind) : []) {
      b.group('root file system').doing(`mounting ${mount.source ?? ''} on ${mount.destination}`);
      trees.set(mount, openSource(b, mount, parseMountOptions(mount.options ?? [])));
    }
    b.group('namespaces').doing('joining the namespaces of the container');
    const flags = input.namespaces.reduce((bits, type) => bits | cloneFlags[type], 0n);
    if (flags) b.sys('setns', [init, flags]);
    if (userNamespace) becomeRoot(b);
    const root = openHost(b, '/', O_PATH | O_DIRECTORY);
    if (input.change === 'remove') return unmount(b, root, input.mounts);
    const facts: MountFacts = {
      ...input.mountFacts,
      userNamespace,
      ownNetwork: input.namespaces.includes('network') && 'joined',
      ownPids: input.namespaces.includes('pid'),
      followDangling: true,
      fromExecutor: (mount) => trees.get(mount),
    };
    mountAll(b, root, input.mounts, facts);
  });
  b.await(child.report);
  b.sys('wait4', [child.pid, 0, 0, 0]);
  return {
    plan: b.build(),
    resume(message, confirm) {
      const answer = b.reply(message);
      if (answer) return answer;
      confirm();
      return new PlanBuilder(input.arch, b).build();
    },
  };
}

/** The last one first: one may lie in another. */
function unmount(b: PlanBuilder, root: Reg, mounts: readonly Mount[]): void {
  for (const { destination } of mounts.toReversed()) {
    b.group('root file system').doing(`unmounting ${destination}`);
    const target = openIn(b, root, destination, { flags: O_PATH });
    // By its descriptor: what a name means may have changed.
    b.sys('fchdir', [target]);
    b.sys('umount2', ['.', MNT_DETACH]);
    b.sys('fchdir', [root]);
    b.sys('close', [target]);
  }
}
