import { KeelsonError } from '../ground/errors.ts';
import { validateSeccomp } from '../spec/config.ts';
import type { LinuxSeccomp, LinuxSeccompArch, LinuxSyscall } from '../spec/runtime.ts';
import {
  list,
  matching,
  nonEmpty,
  object,
  optional,
  parseExact,
  read,
  required,
  text,
  withDefault,
} from '../spec/shape.ts';
import { type KernelVersion, kernelAtLeast } from './facts.ts';
import type { Arch } from './syscalls.ts';

/** A condition of docker's profiles. All that are given must hold to include a rule; one that holds is enough to exclude it. */
export interface ProfileCondition {
  readonly caps?: readonly string[];
  /** As Go names them: `amd64`, `arm64`. */
  readonly arches?: readonly string[];
  /** `4.8` */
  readonly minKernel?: string;
}

export interface ProfileRule extends LinuxSyscall {
  readonly includes?: ProfileCondition;
  readonly excludes?: ProfileCondition;
}

/** Docker's profile format (`--security-opt seccomp=FILE`): the specification's, with conditions on the host and the container. */
export interface SeccompProfile extends Omit<LinuxSeccomp, 'syscalls'> {
  readonly archMap?: readonly {
    readonly architecture: LinuxSeccompArch;
    readonly subArchitectures: readonly LinuxSeccompArch[];
  }[];
  readonly syscalls: readonly ProfileRule[];
}

/** What the conditions are about. */
export interface ProfileSubject {
  readonly arch: Arch;
  readonly kernel: KernelVersion;
  /** The container's bounding set, names with CAP_. */
  readonly capabilities: readonly string[];
}

const goArch: Readonly<Record<Arch, string>> = { x86_64: 'amd64', aarch64: 'arm64' };
const ociArch: Readonly<Record<Arch, LinuxSeccompArch>> = { x86_64: 'SCMP_ARCH_X86_64', aarch64: 'SCMP_ARCH_AARCH64' };

/** `linux.seccomp` of a container: the rules that apply to it. Undefined for a profile that says nothing at all (`{}`). */
export function resolveProfile(profile: SeccompProfile, subject: ProfileSubject): LinuxSeccomp {
  const { archMap, syscalls, ...rest } = profile;
  const mapped = archMap?.find((entry) => entry.architecture === ociArch[subject.arch]);
  const architectures = mapped ? [mapped.architecture, ...mapped.subArchitectures] : profile.architectures;
  return {
    ...rest,
    ...(architectures ? { architectures } : {}),
    syscalls: syscalls
      .filter((rule) => applies(rule, subject))
      .map(
        ({ names, action, errnoRet, args }): LinuxSyscall => ({
          names,
          action,
          ...(errnoRet === undefined ? {} : { errnoRet }),
          ...(args === undefined ? {} : { args }),
        }),
      ),
  };
}

function applies(
  { includes = {}, excludes = {} }: ProfileRule,
  { arch, kernel, capabilities }: ProfileSubject,
): boolean {
  const reaches = (version: string): boolean => {
    const [major, minor] = version.split('.').map(Number);
    return kernelAtLeast(kernel, major ?? 0, minor ?? 0);
  };
  if (excludes.arches?.includes(goArch[arch])) return false;
  if (excludes.caps?.some((name) => capabilities.includes(name))) return false;
  if (excludes.minKernel !== undefined && reaches(excludes.minKernel)) return false;
  if (includes.arches?.length && !includes.arches.includes(goArch[arch])) return false;
  if (includes.caps?.some((name) => !capabilities.includes(name))) return false;
  return includes.minKernel === undefined || reaches(includes.minKernel);
}

const condition = object<ProfileCondition>('', {
  caps: optional(list(nonEmpty)),
  arches: optional(list(nonEmpty)),
  minKernel: optional(matching(/^\d{1,3}\.\d{1,3}$/, 'a kernel version like 4.8')),
});

/** What docker adds to the specification's rules; the rest of them is checked as such. */
const conditions = object<{
  syscalls: readonly { includes?: ProfileCondition; excludes?: ProfileCondition; name?: string }[];
}>('', {
  syscalls: required(
    list(
      object<{ includes?: ProfileCondition; excludes?: ProfileCondition; name?: string }>('', {
        includes: optional(condition),
        excludes: optional(condition),
        name: optional(text),
      }),
    ),
  ),
});

const archMap = object<{ archMap?: NonNullable<SeccompProfile['archMap']> }>('', {
  archMap: optional(
    list(
      object<NonNullable<SeccompProfile['archMap']>[number]>('', {
        // Names of architectures that are not this one's don't matter, so neither does how they are spelt.
        architecture: required(nonEmpty as never),
        subArchitectures: withDefault(list(nonEmpty) as never, []),
      }),
    ),
  ),
});

/**
 * Reads the text of a profile, docker's or the specification's; `what` names it in errors. Throws `invalid-argument`. Undefined for a
 * profile without default action and rules, which means no filter.
 */
export function parseProfile(json: string, what: string): SeccompProfile | undefined {
  const options = { what, standard: "docker's seccomp profile format" };
  const document = parseExact(json, what);
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw new KeelsonError('invalid-argument', `${what}: a seccomp profile is a JSON object`);
  }
  const source = document as Readonly<Record<string, unknown>>;
  const rules = Array.isArray(source['syscalls']) ? source['syscalls'] : [];
  if ((source['defaultAction'] ?? '') === '' && rules.length === 0) return undefined;
  const extras = read(conditions, { syscalls: rules }, options).syscalls;
  const map = read(archMap, source, options).archMap;
  if (map?.length && Array.isArray(source['architectures']) && source['architectures'].length > 0) {
    throw new KeelsonError('invalid-argument', `${what}: has both architectures and archMap`);
  }
  // Old profiles have one name a rule.
  const named = rules.map((rule: Readonly<Record<string, unknown>>, i) => {
    const name = extras[i]?.name;
    if (!name) return rule;
    if (Array.isArray(rule['names']) && rule['names'].length > 0) {
      throw new KeelsonError('invalid-argument', `${what}: syscalls[${i}] has both name and names`);
    }
    return { ...rule, names: [name] };
  });
  const { syscalls = [], ...seccomp } = validateSeccomp({ ...source, syscalls: named });
  return {
    ...seccomp,
    ...(map?.length ? { archMap: map } : {}),
    syscalls: syscalls.map((rule, i) => ({
      ...rule,
      ...(extras[i]?.includes ? { includes: extras[i].includes } : {}),
      ...(extras[i]?.excludes ? { excludes: extras[i].excludes } : {}),
    })),
  };
}
