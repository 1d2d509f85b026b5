/** How a process is run: personality, scheduling policy, I/O priority, CPUs. All of it is inherited by the program. */
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { ioPriorityClasses, type LinuxIoPriority, type LinuxMemoryPolicy, type Scheduler } from '../spec/runtime.ts';
import { setMemoryPolicy } from './memory-policy.ts';

export interface Scheduling {
  readonly personality?: 'LINUX' | 'LINUX32';
  readonly scheduler?: Scheduler;
  readonly ioPriority?: LinuxIoPriority;
  readonly memoryPolicy?: LinuxMemoryPolicy;
  /** Its control group has processors of its own. */
  readonly ownCpus?: boolean;
}

const policies = {
  SCHED_OTHER: 0,
  SCHED_FIFO: 1,
  SCHED_RR: 2,
  SCHED_BATCH: 3,
  SCHED_ISO: 4,
  SCHED_IDLE: 5,
  SCHED_DEADLINE: 6,
};
const flagBits = {
  SCHED_FLAG_RESET_ON_FORK: 0x01,
  SCHED_FLAG_RECLAIM: 0x02,
  SCHED_FLAG_DL_OVERRUN: 0x04,
  SCHED_FLAG_KEEP_POLICY: 0x08,
  SCHED_FLAG_KEEP_PARAMS: 0x10,
  SCHED_FLAG_UTIL_CLAMP_MIN: 0x20,
  SCHED_FLAG_UTIL_CLAMP_MAX: 0x40,
};

/** Before privileges are dropped. */
export function setScheduling(
  b: PlanBuilder,
  { personality, scheduler, ioPriority, memoryPolicy, ownCpus }: Scheduling,
): void {
  b.group('exec');
  if (memoryPolicy) setMemoryPolicy(b, memoryPolicy);
  if (personality !== undefined) {
    const PER_LINUX32 = 8;
    b.sys('personality', [personality === 'LINUX32' ? PER_LINUX32 : 0], {
      doing: `setting the personality ${personality}`,
    });
  }
  if (scheduler) {
    b.doing(`setting the scheduler ${scheduler.policy}`);
    const flags = (scheduler.flags ?? []).reduce((bits, flag) => bits | flagBits[flag], 0);
    const attr = b.struct(`{sched_policy=${scheduler.policy}}`, 48, [
      [0, 4, 48],
      [4, 4, policies[scheduler.policy]],
      [8, 8, flags],
      [16, 4, scheduler.nice ?? 0],
      [20, 4, scheduler.priority ?? 0],
      [24, 8, scheduler.runtime ?? 0],
      [32, 8, scheduler.deadline ?? 0],
      [40, 8, scheduler.period ?? 0],
    ]);
    const [refused, set] = [b.label(), b.label()];
    b.sys('sched_setattr', [0, attr, 0], { on: ownCpus ? { EPERM: refused } : {} });
    if (ownCpus) {
      b.jump(set);
      b.place(refused);
      b.fail('EPERM', "process scheduler can't be used together with AllowedCPUs");
      b.place(set);
    }
  }
  if (ioPriority) {
    const value = ((ioPriorityClasses.indexOf(ioPriority.class) + 1) << 13) | (ioPriority.priority ?? 0);
    b.sys('ioprio_set', [1, 0, value], {
      doing: `setting the I/O priority ${ioPriority.class} ${ioPriority.priority ?? 0}`,
    });
  }
}
