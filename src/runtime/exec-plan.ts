/** The plan of one more process in a running container: joins its namespaces and cgroup, then the same last steps as init. */
import type { CgroupPlan } from '../kernel/cgroup-driver.ts';
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  AT_FDCWD,
  O_NOCTTY,
  O_PATH,
  O_RDWR,
} from '../kernel/constants.ts';
import type { Keep, Plan } from '../kernel/plan.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { openCgroup } from './cgroup-steps.ts';
import type { ContainerPlan } from './container-plan.ts';
import { enterContainer, type Entry } from './enter.ts';
import { runProcess, scoreAndLabels, type ProcessInput } from './exec-steps.ts';
import { awaitReady, enterChild, leaveParent, prepareHandshake } from './handshake.ts';
import { noLinks, openIn } from './in-root.ts';
import { openTerminal, sendDescriptor } from './stdio.ts';
import { requestUser, type UserRequest } from './user-steps.ts';

const containerNamespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP;

export interface ExecPlanInput {
  readonly arch: Plan['arch'];
  /** Of the container's init, as its keeper says. */
  readonly pid: number;
  /** Its namespaces that differ from the executor's. */
  readonly userNamespace: boolean;
  readonly cgroup?: Pick<CgroupPlan, 'directories' | 'cloneInto'>;
  readonly seccomp?: { readonly filter: Uint8Array; readonly flags: number };
  readonly process: ProcessInput;
  readonly user?: UserRequest;
  readonly terminal: boolean;
  readonly openStdin: boolean;
  readonly keep: Omit<
    Keep,
    'pid' | 'pidfd' | 'gate' | 'report' | 'stdin' | 'stdout' | 'stderr' | 'terminal' | 'relays' | 'exitPlan'
  >;
}

export function execPlan(input: ExecPlanInput): ContainerPlan {
  const b = new PlanBuilder(input.arch);
  const handshake = prepareHandshake(b, input);
  b.group('namespaces').doing('joining the namespaces of the container');
  const init = b.sys('pidfd_open', [input.pid, 0]);
  const cgroup = input.cgroup && openCgroup(b, input.cgroup);
  let resume: ContainerPlan['continue'];
  const entry: Entry = {
    init,
    namespaces: (input.userNamespace ? CLONE_NEWUSER : 0n) | containerNamespaces,
    userNamespace: input.userNamespace,
    cgroup,
    begin() {
      enterChild(b, handshake);
      // The executor's own streams are the host's; the process gets others before it is ready.
      for (const stream of [0, 1, 2]) b.sys('dup3', [handshake.link.child, stream, 0]);
    },
    prepare: () => scoreAndLabels(b, input.process),
    leave: () => leaveParent(b, handshake),
  };
  const child = enterContainer(b, entry, () => {
    let slave: ReturnType<typeof openTerminal>['slave'] | undefined;
    if (input.terminal) {
      b.group('exec').doing('opening a terminal');
      const root = b.sys('openat', [AT_FDCWD, '/', O_PATH | 0o2000000]);
      const ptmx = openIn(b, root, '/dev/pts/ptmx', { flags: O_RDWR | O_NOCTTY, resolve: noLinks });
      const terminal = openTerminal(b, ptmx);
      sendDescriptor(b, handshake.link.child, terminal.master);
      slave = terminal.slave;
    }
    const rest = (builder: PlanBuilder, process: ProcessInput) =>
      runProcess(builder, {
        ...process,
        pipes: handshake.pipes,
        terminal: slave,
        gate: handshake.gate.read,
        ready: handshake.link.child,
        procDone: true,
        userNamespace: input.userNamespace,
        seccomp: input.seccomp,
      });
    if (!input.user) return rest(b, input.process);
    const request = input.user;
    const answer = requestUser(b);
    resume = (blobs, values) => {
      const chunk = new PlanBuilder(input.arch, b);
      rest(chunk, answer(request, input.process, blobs, values));
      return chunk.build();
    };
  });
  const process = awaitReady(b, handshake, child, input.terminal);
  b.group('exec').doing('keeping the process');
  b.keep({ ...input.keep, ...process, relays: [] }, () => {});
  return resume ? { plan: b.build(), continue: resume } : { plan: b.build() };
}
