import { readFile } from 'node:fs/promises';
import { fromSystemError, KeelsonError } from '../ground/errors.ts';
import type { HostFacts } from '../kernel/facts.ts';
import { compileSeccomp, seccompFlags } from '../kernel/seccomp.ts';
import { defaultProfile } from '../kernel/seccomp-default.ts';
import { parseProfile, resolveProfile } from '../kernel/seccomp-profile.ts';
import { securityOption } from './container-spec.ts';
import { type CompiledFilter, SeccompCache } from './seccomp-cache.ts';
import type { ContainerConfig } from './types.ts';

/** A profile is a few tens of kilobytes. */
const largestProfile = 4 << 20;

const compiled = new Map<string, CompiledFilter>();
const mostCompiled = 32;

/**
 * The compiled filter of a container with these capabilities in its bounding set; none for a privileged one, or with
 * `seccomp=unconfined`. Compiled ones are kept: nearly all containers have the same.
 */
export function seccompFor(
  config: ContainerConfig,
  facts: HostFacts,
  capabilities: readonly string[],
  run: string,
): CompiledFilter | undefined {
  const option = securityOption(config, 'seccomp');
  if (config.privileged || option === 'unconfined' || facts.seccompActions.length === 0) return undefined;
  const key = JSON.stringify([option ?? '', capabilities.toSorted()]);
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const profile =
    option === undefined || option === 'builtin' ? defaultProfile : parseProfile(option, 'seccomp profile');
  if (profile === undefined) return undefined;
  const { arch, kernel } = facts;
  const result = new SeccompCache(run).filter([profile, arch, kernel, capabilities.toSorted()], () => {
    const seccomp = resolveProfile(profile, { arch, kernel, capabilities });
    return { filter: compileSeccomp(seccomp, arch), flags: seccompFlags(seccomp) };
  });
  const [oldest] = compiled.keys();
  if (compiled.size >= mostCompiled && oldest !== undefined) compiled.delete(oldest);
  compiled.set(key, result);
  return result;
}

/** Puts a profile's content in the place of its file's name, so that the container keeps it whatever becomes of the file. */
export async function freezeSeccomp(config: ContainerConfig): Promise<ContainerConfig> {
  const option = securityOption(config, 'seccomp');
  if (option === undefined || option === 'unconfined' || option === 'builtin') return config;
  const json = option.trimStart().startsWith('{') ? option : await readProfile(option);
  parseProfile(json, 'seccomp profile');
  const others = (config.securityOpt ?? []).filter((o) => !/^seccomp[=:]/.test(o));
  return { ...config, securityOpt: [...others, `seccomp=${json}`] };
}

async function readProfile(path: string): Promise<string> {
  try {
    const text = await readFile(path, 'utf8');
    if (text.length > largestProfile)
      throw new KeelsonError('invalid-argument', `the seccomp profile ${path} is too large`);
    return text;
  } catch (error) {
    throw fromSystemError(error, `opening seccomp profile (${path}) failed`);
  }
}
