import * as oci from './runtime.ts';
import {
  absolutePath,
  type At,
  bool,
  formatExact,
  int32,
  int64,
  integer,
  list,
  matching,
  nonEmpty,
  object,
  oneOf,
  optional,
  optionalText,
  parseExact,
  read,
  record,
  required,
  type Shape,
  text,
  uint16,
  uint32,
  uint64,
  withDefault,
} from './shape.ts';

const standard = 'OCI runtime-spec 1.3';

/**
 * Checks a bundle's config.json as parsed: returns it frozen, properties that are not in the specification left out, or throws
 * `invalid-argument` naming path, value and section of what is wrong. Solaris, Windows, z/OS and FreeBSD parts are not read.
 */
export function validateConfig(json: unknown): oci.Spec {
  return read(spec, json, { what: 'config.json', standard });
}

/** The same from text, 64-bit integers exact. */
export function parseConfig(json: string): oci.Spec {
  return validateConfig(parseExact(json, 'config.json'));
}

/** The text of a config.json. */
export function formatConfig(config: oci.Spec): string {
  return formatExact(config, 2);
}

/** Checks `linux.resources` on its own, as `update` takes it. */
export function validateResources(json: unknown): oci.LinuxResources {
  return read(resources, json, { what: 'resources', standard });
}

/** Checks `process` on its own, as `exec --process` takes it. */
export function validateProcess(json: unknown): oci.Process {
  return read(process, json, { what: 'process', standard });
}

/** Checks a list like `mounts` on its own. */
export function validateMounts(json: unknown): readonly oci.Mount[] {
  return read(list(mount), json, { what: 'mounts', standard });
}

/** Checks `linux.seccomp` on its own. */
export function validateSeccomp(json: unknown): oci.LinuxSeccomp {
  return read(seccomp, json, { what: 'seccomp profile', standard });
}

/** Reports the second of two entries with the same `key`. */
function distinct<T>(entries: readonly T[], at: At, what: string, key: (entry: T) => string): void {
  const seen = new Set<string>();
  for (const [i, entry] of entries.entries()) {
    const name = key(entry);
    if (seen.has(name)) at.index(i).report(`${what} ${name} is given twice`);
    seen.add(name);
  }
}

/** `0-3,7`, as the kernel reads lists of CPUs and memory nodes; ranges may have a stride (`0-31:2/4`). */
const cpuList = matching(/^\s*\d+(-\d+(:\d+\/\d+)?)?(\s*,\s*\d+(-\d+(:\d+\/\d+)?)?)*\s*,?\s*$/, 'a list like 0-3,7');
const oneLine = matching(/^[^\n]*$/, 'one line');
const deviceNumber = integer(0, 0xffffffff);
/** `*` of the cgroup rules is -1 in documents of docker and podman: the same as absent. */
const deviceNumberOrAll = integer(-1, 0xffffffff);

/** The last number means "leave it as it is" to setresuid(2) and chown(2), so that a process that asked for it would stay root. */
const id = integer(0, 0xfffffffe);

const idMapping = object<oci.LinuxIdMapping>(
  'config-linux.md#user-namespace-mappings',
  { containerID: required(uint32), hostID: required(uint32), size: required(integer(1, 0xffffffff)) },
  (m, at) => {
    if (m.containerID + m.size > 2 ** 32 || m.hostID + m.size > 2 ** 32) at.report('maps ids beyond 4294967295');
  },
);
/** The kernel's limit (user_namespaces(7)). */
const idMappings = list(idMapping, { max: 340 });

const mount = object<oci.Mount>(
  'config.md#mounts',
  {
    destination: required(nonEmpty),
    type: optionalText(text),
    source: optionalText(text),
    options: optional(list(text)),
    uidMappings: optional(idMappings),
    gidMappings: optional(idMappings),
  },
  (m, at) => {
    if (!m.uidMappings?.length !== !m.gidMappings?.length) at.report('uidMappings and gidMappings go together');
  },
);

const user = object<oci.User>('config.md#posix-platform-user', {
  // A document of Go's leaves out what is 0.
  uid: withDefault(id, 0),
  gid: withDefault(id, 0),
  umask: optional(integer(0, 0o7777)),
  additionalGids: optional(list(id, { max: 65536 })),
});

const capabilityNames = list(nonEmpty);
const capabilities = object<oci.LinuxCapabilities>('config.md#linux-process', {
  bounding: optional(capabilityNames),
  effective: optional(capabilityNames),
  inheritable: optional(capabilityNames),
  permitted: optional(capabilityNames),
  ambient: optional(capabilityNames),
});

const rlimit = object<oci.Rlimit>(
  'config.md#posix-process',
  {
    type: required(matching(/^RLIMIT_[A-Z]+$/, 'a name like RLIMIT_NOFILE')),
    hard: required(uint64),
    soft: required(uint64),
  },
  (limit, at) => {
    if (limit.soft > limit.hard) at.report(`soft limit ${limit.soft} is above the hard limit ${limit.hard}`);
  },
);

const scheduler = object<oci.Scheduler>(
  'config.md#linux-process',
  {
    policy: required(oneOf(oci.schedulerPolicies)),
    nice: optional(integer(-20, 19)),
    priority: optional(int32),
    flags: optional(list(oneOf(oci.schedulerFlags))),
    runtime: optional(uint64),
    deadline: optional(uint64),
    period: optional(uint64),
  },
  checkDeadline,
);

/** sched(7), "SCHED_DEADLINE"; in crun's words. The kernel says EINVAL to all of it. */
function checkDeadline({ policy, runtime, deadline, period }: oci.Scheduler, at: At): void {
  if (policy !== 'SCHED_DEADLINE') return;
  const refuse = (why: string) => at.report(`sched_setattr: \`SCHED_DEADLINE\` ${why}`);
  if (runtime === undefined) return refuse('requires `runtime`');
  if (deadline === undefined) return refuse('requires `deadline`');
  if (Number(runtime) === 0) return refuse('runtime must be greater than 0');
  if (Number(deadline) === 0) return refuse('deadline must be greater than 0');
  const [least, most] = [1024, 2 ** 63];
  if (Number(runtime) < least || Number(runtime) >= most)
    return refuse(`runtime (${runtime}) must be between ${least} and 2^63 - 1`);
  if (BigInt(runtime) > BigInt(deadline)) return refuse(`runtime (${runtime}) must be <= deadline (${deadline})`);
  if (period !== undefined && Number(period) !== 0 && BigInt(deadline) > BigInt(period))
    refuse(`deadline (${deadline}) must be <= period (${period})`);
}

const process: Shape<oci.Process> = object<oci.Process>(
  'config.md#process',
  {
    terminal: optional(bool),
    consoleSize: optional(object('', { height: required(uint16), width: required(uint16) })),
    // runc takes a document without it for one that says 0:0, and so do its callers.
    user: withDefault(user, Object.freeze({ uid: 0, gid: 0 })),
    args: optional(list(text, { min: 1 })),
    env: optional(list(nonEmpty)),
    cwd: required(absolutePath),
    capabilities: optional(capabilities),
    rlimits: optional(list(rlimit)),
    noNewPrivileges: optional(bool),
    apparmorProfile: optionalText(oneLine),
    oomScoreAdj: optional(integer(-1000, 1000)),
    scheduler: optional(scheduler),
    selinuxLabel: optionalText(oneLine),
    ioPriority: optional(
      object<oci.LinuxIoPriority>('config.md#linux-process', {
        class: required(oneOf(oci.ioPriorityClasses)),
        priority: optional(integer(0, 7)),
      }),
    ),
    execCPUAffinity: optional(
      object<{ initial?: string; final?: string }>('config.md#linux-process', {
        initial: optionalText(cpuList),
        final: optionalText(cpuList),
      }),
    ),
  },
  (p, at) => distinct(p.rlimits ?? [], at.key('rlimits'), 'limit', (limit) => limit.type),
);

const hook = list(
  object<oci.Hook>('config.md#posix-platform-hooks', {
    path: required(absolutePath),
    args: optional(list(text)),
    env: optional(list(text)),
    timeout: optional(integer(1, 0x7fffffff)),
  }),
);
const hooks = object<oci.Hooks>('config.md#posix-platform-hooks', {
  prestart: optional(hook),
  createRuntime: optional(hook),
  createContainer: optional(hook),
  startContainer: optional(hook),
  poststart: optional(hook),
  poststop: optional(hook),
});

const device = object<oci.LinuxDevice>(
  'config-linux.md#devices',
  {
    path: required(absolutePath),
    type: required(oneOf(oci.deviceTypes)),
    major: optional(deviceNumber),
    minor: optional(deviceNumber),
    fileMode: optional(uint32),
    uid: optional(id),
    gid: optional(id),
  },
  (d, at) => {
    if (d.type === 'p') return;
    for (const name of ['major', 'minor'] as const) if (d[name] === undefined) at.key(name).report('is missing');
  },
);

const deviceRule = object<oci.LinuxDeviceRule>('config-linux.md#allowed-device-list', {
  allow: required(bool),
  type: optionalText(oneOf(['a', 'c', 'b'])),
  major: optional(deviceNumberOrAll),
  minor: optional(deviceNumberOrAll),
  access: optionalText(matching(/^[rwma]+$/, 'any of r, w, m')),
});

const memory = object<oci.LinuxMemory>('config-linux.md#memory', {
  limit: optional(int64),
  reservation: optional(int64),
  swap: optional(int64),
  kernel: optional(int64),
  kernelTCP: optional(int64),
  swappiness: optional(integer(0, 200)),
  disableOOMKiller: optional(bool),
  useHierarchy: optional(bool),
  checkBeforeUpdate: optional(bool),
});

const cpu = object<oci.LinuxCpu>('config-linux.md#cpu', {
  shares: optional(uint64),
  quota: optional(int64),
  burst: optional(uint64),
  period: optional(uint64),
  realtimeRuntime: optional(int64),
  realtimePeriod: optional(uint64),
  cpus: optionalText(cpuList),
  mems: optionalText(cpuList),
  idle: optional(integer(0, 1)),
});

const throttles = list(
  object<oci.LinuxThrottleDevice>('config-linux.md#block-io', {
    major: required(deviceNumber),
    minor: required(deviceNumber),
    rate: required(uint64),
  }),
);
const blockIo = object<oci.LinuxBlockIo>('config-linux.md#block-io', {
  weight: optional(uint16),
  leafWeight: optional(uint16),
  weightDevice: optional(
    list(
      object<oci.LinuxWeightDevice>(
        '',
        {
          major: required(deviceNumber),
          minor: required(deviceNumber),
          weight: optional(uint16),
          leafWeight: optional(uint16),
        },
        (d, at) => {
          if (d.weight === undefined && d.leafWeight === undefined) at.report('has neither weight nor leafWeight');
        },
      ),
    ),
  ),
  throttleReadBpsDevice: optional(throttles),
  throttleWriteBpsDevice: optional(throttles),
  throttleReadIOPSDevice: optional(throttles),
  throttleWriteIOPSDevice: optional(throttles),
});

/** A file name in a cgroup's directory. */
const cgroupFile = matching(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/, 'the name of a cgroup file');

const resources: Shape<oci.LinuxResources> = object<oci.LinuxResources>('config-linux.md#control-groups', {
  devices: optional(list(deviceRule)),
  memory: optional(memory),
  cpu: optional(cpu),
  pids: optional(object<{ limit?: oci.Int64 }>('config-linux.md#pids', { limit: optional(int64) })),
  blockIO: optional(blockIo),
  hugepageLimits: optional(
    list(
      object<{ pageSize: string; limit: oci.Int64 }>('config-linux.md#huge-page-limits', {
        pageSize: required(matching(/^[1-9]\d*[KMG]B$/, 'a size like 64KB, 2MB or 1GB')),
        limit: required(uint64),
      }),
    ),
  ),
  network: optional(
    object<oci.LinuxNetwork>('config-linux.md#network', {
      classID: optional(uint32),
      priorities: optional(
        list(
          object<{ name: string; priority: number }>('', {
            name: required(matching(/^[^\s/]{1,15}$/, 'the name of a network interface')),
            priority: required(uint32),
          }),
        ),
      ),
    }),
  ),
  rdma: optional(
    record(
      object<{ hcaHandles?: number; hcaObjects?: number }>(
        'config-linux.md#rdma',
        { hcaHandles: optional(uint32), hcaObjects: optional(uint32) },
        (limit, at) => {
          if (limit.hcaHandles === undefined && limit.hcaObjects === undefined) {
            at.report('has neither hcaHandles nor hcaObjects');
          }
        },
      ),
      matching(/^\S+$/, 'the name of an RDMA device'),
    ),
  ),
  unified: optional(record(text, cgroupFile)),
});

/** `SCMP_ACT_ERRNO` and `SCMP_ACT_TRACE` carry a number. */
function checkErrno(action: oci.LinuxSeccompAction, errno: number | undefined, at: At): void {
  if (errno !== undefined && action !== 'SCMP_ACT_ERRNO' && action !== 'SCMP_ACT_TRACE') {
    at.report(`${action} does not return an errno`);
  }
}

const seccomp: Shape<oci.LinuxSeccomp> = object<oci.LinuxSeccomp>(
  'config-linux.md#seccomp',
  {
    defaultAction: required(oneOf(oci.seccompActions)),
    defaultErrnoRet: optional(uint16),
    architectures: optional(list(oneOf(oci.seccompArchitectures))),
    flags: optional(list(oneOf(oci.seccompFlags))),
    listenerPath: optionalText(absolutePath),
    listenerMetadata: optionalText(text),
    syscalls: optional(
      list(
        object<oci.LinuxSyscall>(
          '',
          {
            names: required(list(nonEmpty, { min: 1 })),
            action: required(oneOf(oci.seccompActions)),
            errnoRet: optional(uint16),
            args: optional(
              list(
                object<oci.LinuxSeccompArg>('', {
                  index: required(integer(0, 5)),
                  value: required(uint64),
                  valueTwo: optional(uint64),
                  op: required(oneOf(oci.seccompOperators)),
                }),
              ),
            ),
          },
          (rule, at) => checkErrno(rule.action, rule.errnoRet, at.key('errnoRet')),
        ),
      ),
    ),
  },
  (s, at) => {
    checkErrno(s.defaultAction, s.defaultErrnoRet, at.key('defaultErrnoRet'));
    if (s.listenerMetadata !== undefined && s.listenerPath === undefined) {
      at.key('listenerMetadata').report('is set without listenerPath');
    }
  },
);

/** `net.ipv4.ip_forward` or `net/ipv4/ip_forward`: what becomes a path under /proc/sys, so nothing that climbs. */
const sysctlName = matching(/^(?!.*(\.\.|\/\/|\.\/|\/\.))[a-zA-Z0-9_][a-zA-Z0-9_.:/@-]*$/, 'the name of a sysctl');
const sysctlValue = matching(/^[^\n]*$/, 'one line');

const linux = object<oci.Linux>(
  'config-linux.md',
  {
    uidMappings: optional(idMappings),
    gidMappings: optional(idMappings),
    sysctl: optional(record(sysctlValue, sysctlName)),
    resources: optional(resources),
    cgroupsPath: optionalText(matching(/^(?!(?:.*\/)?\.\.(?:\/|$))[^\n]{1,4095}$/, 'the path of a cgroup, without ..')),
    namespaces: optional(
      list(
        object<oci.LinuxNamespace>('config-linux.md#namespaces', {
          type: required(oneOf(oci.namespaceTypes)),
          path: optionalText(absolutePath),
        }),
      ),
    ),
    devices: optional(list(device)),
    netDevices: optional(
      record(
        object<{ name?: string }>('config-linux.md#network-devices', {
          name: optionalText(matching(/^(?!\.{1,2}$)[^\s/:]{1,15}$/, 'the name of a network interface')),
        }),
        matching(/^(?!\.{1,2}$)[^\s/:]{1,15}$/, 'the name of a network interface'),
      ),
    ),
    seccomp: optional(seccomp),
    rootfsPropagation: optionalText(oneOf(oci.rootfsPropagations)),
    maskedPaths: optional(list(absolutePath)),
    readonlyPaths: optional(list(absolutePath)),
    mountLabel: optionalText(oneLine),
    intelRdt: optional(
      object<oci.LinuxIntelRdt>('config-linux.md#intelrdt', {
        closID: optionalText(matching(/^(\/|(?!\.{1,2}$)[^/\n]+)$/, 'the name of a class, or /')),
        schemata: optional(list(oneLine)),
        l3CacheSchema: optionalText(oneLine),
        memBwSchema: optionalText(matching(/^MB:[^\n]*$/, 'a line that starts with MB:')),
        enableMonitoring: optional(bool),
      }),
    ),
    memoryPolicy: optional(
      object<oci.LinuxMemoryPolicy>('config-linux.md#memory-policy', {
        // Its values are checked with what goes together; see memory-policy.ts.
        mode: withDefault(text, ''),
        nodes: optionalText(text),
        flags: optional(list(text)),
      }),
    ),
    personality: optional(
      object<NonNullable<oci.Linux['personality']>>('config-linux.md#personality', {
        domain: required(oneOf(oci.personalityDomains)),
        flags: optional(list(text, { max: 0 })),
      }),
    ),
    timeOffsets: optional(
      record(
        object<{ secs?: oci.Int64; nanosecs?: number }>('config-linux.md#offset-for-time-namespace', {
          secs: optional(int64),
          nanosecs: optional(integer(0, 999_999_999)),
        }),
        oneOf(['monotonic', 'boottime']),
      ),
    ),
  },
  (l, at) => distinct(l.namespaces ?? [], at.key('namespaces'), 'namespace', (namespace) => namespace.type),
);

const vm = object<oci.Vm>('config-vm.md', {
  hypervisor: optional(
    object<{ path: string; parameters?: readonly string[] }>('config-vm.md#hypervisor-object', {
      path: required(absolutePath),
      parameters: optional(list(text)),
    }),
  ),
  kernel: required(
    object<oci.Vm['kernel']>('config-vm.md#kernel-object', {
      path: required(absolutePath),
      parameters: optional(list(text)),
      initrd: optionalText(absolutePath),
    }),
  ),
  image: optional(
    object<{ path: string; format: string }>('config-vm.md#image-object', {
      path: required(absolutePath),
      format: required(oneOf(['raw', 'qcow2', 'vdi', 'vmdk', 'vhd'])),
    }),
  ),
});

/** Semantic Versioning 2.0.0, of a major version that this program knows; 0.x and 1.x documents differ in nothing it reads. */
const version = matching(
  /^[01]\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/,
  'a version from 0.1.0 to 1.x',
);

const spec = object<oci.Spec>('config.md', {
  ociVersion: required(version),
  process: optional(process),
  root: required(object<oci.Root>('config.md#root', { path: required(nonEmpty), readonly: optional(bool) })),
  hostname: optionalText(matching(/^[^\n]{1,64}$/, 'a host name of up to 64 bytes')),
  domainname: optionalText(matching(/^[^\n]{1,64}$/, 'a domain name of up to 64 bytes')),
  mounts: optional(list(mount)),
  hooks: optional(hooks),
  annotations: optional(record(text, nonEmpty)),
  linux: optional(linux),
  vm: optional(vm),
});
