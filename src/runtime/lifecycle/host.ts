import type { HostFacts } from '../../kernel/facts.ts';
import type { PlanHooks, PlanResult } from '../../kernel/keel.ts';
import type { Plan } from '../../kernel/plan.ts';
import type { Rootless } from './rootless.ts';
import type { StateStore } from './state-store.ts';

/** Carries out plans as the caller of the runtime. */
export interface Runner {
  run(plan: Plan, hooks?: PlanHooks): Promise<PlanResult>;
}

/** Who makes control groups. */
export type CgroupManager = 'cgroupfs' | 'systemd' | 'disabled';

export interface Host {
  readonly runner: Runner;
  readonly store: StateStore;
  readonly facts: HostFacts;
  readonly rootless: Rootless;
  readonly cgroupManager: CgroupManager;
  /** The caller's. */
  readonly environment: Readonly<Record<string, string>>;
  readonly warn: (message: string) => void;
  readonly debug: (message: string) => void;
  /** The process that carries out the plans. */
  readonly caller: number;
  /** The descriptor on which it hears of them. */
  readonly channel?: number;
}
