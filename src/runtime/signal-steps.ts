import type { PlanBuilder } from '../kernel/plan-builder.ts';

const SIG_SETMASK = 2;
const SIGPIPE = 13;

/** What the front changed for itself: signals that it holds back for the process it waits for, and SIGPIPE, which it ignores. */
export function resetSignals(b: PlanBuilder): void {
  // struct sigaction of the kernel: 32 bytes on x86_64, 24 on arm64; all zero is SIG_DFL.
  b.sys('rt_sigaction', [SIGPIPE, b.blob(32, '{sa_handler=SIG_DFL}'), 0, 8]);
  b.sys('rt_sigprocmask', [SIG_SETMASK, b.blob(8, '[]'), 0, 8]);
}
