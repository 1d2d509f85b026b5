import { kernelAtLeast } from './facts.ts';
import type { DoctorFacts, Presence } from './facts-doctor.ts';

/** One thing that containers need or profit from, and how it is here. */
export interface Finding {
  /** The chapter: `kernel`, `namespaces`, `control groups`, … */
  readonly group: string;
  readonly name: string;
  /** `missing`: containers don't run, or not for this user; `warn`: something they may ask for can't be had. */
  readonly status: 'ok' | 'warn' | 'missing';
  /** What was found. */
  readonly detail: string;
  /** What to do about it; '' where there is nothing to do. */
  readonly advice: string;
}

/** Judges a machine by its facts; pure. In the order in which they should be read. */
export function examine(facts: DoctorFacts): readonly Finding[] {
  return [
    ...kernelFindings(facts),
    ...namespaceFindings(facts),
    ...cgroupFindings(facts),
    ...fileFindings(facts),
    ...networkFindings(facts),
    ...securityFindings(facts),
    ...userFindings(facts),
  ];
}

function finding(group: string, name: string, status: Finding['status'], detail: string, advice: string = ''): Finding {
  return { group, name, status, detail, advice: status === 'ok' ? '' : advice };
}

/** System calls, and the version of Linux that has each; what is not there stops containers, or a part of what they may ask for. */
const features: readonly { name: string; major: number; minor: number; needed: boolean; what: string }[] = [
  { name: 'clone3', major: 5, minor: 3, needed: true, what: 'starting processes in namespaces' },
  { name: 'openat2', major: 5, minor: 6, needed: true, what: 'opening paths inside a container safely' },
  { name: 'clone into cgroup', major: 5, minor: 7, needed: true, what: 'starting a process in its control group' },
  { name: 'close_range', major: 5, minor: 11, needed: true, what: 'keeping descriptors from containers' },
  { name: 'mount API', major: 5, minor: 12, needed: true, what: 'mounts by descriptor (fsopen, mount_setattr)' },
  { name: 'id-mapped mounts', major: 5, minor: 12, needed: false, what: 'sharing files across user namespaces' },
  { name: 'cgroup.kill', major: 5, minor: 14, needed: false, what: 'killing a whole control group at once' },
  { name: 'overlay layers by descriptor', major: 6, minor: 7, needed: false, what: 'images of very many layers' },
];

function kernelFindings({ kernel, arch, inUserNamespace }: DoctorFacts): Finding[] {
  const upgrade = 'upgrade the kernel';
  const found = features.map(({ name, major, minor, needed, what }) =>
    kernelAtLeast(kernel, major, minor)
      ? finding('kernel', name, 'ok', `for ${what}`)
      : finding(
          'kernel',
          name,
          needed ? 'missing' : 'warn',
          `for ${what}: comes with Linux ${major}.${minor}`,
          upgrade,
        ),
  );
  const lacks = found.some((f) => f.status === 'missing');
  return [
    finding(
      'kernel',
      'version',
      lacks ? 'missing' : 'ok',
      `Linux ${kernel.release} on ${arch}`,
      'keelson needs Linux 5.12',
    ),
    ...(inUserNamespace
      ? [
          finding(
            'kernel',
            'nested',
            'warn',
            'this is a user namespace, so some mounts and devices are out of reach',
            '',
          ),
        ]
      : []),
    ...found,
  ];
}

const namespaces: readonly [file: string, what: string, needed: boolean][] = [
  ['mnt', 'mounts', true],
  ['pid', 'processes', true],
  ['net', 'network', true],
  ['ipc', 'System V IPC and message queues', true],
  ['uts', 'host name', true],
  ['cgroup', 'view of control groups', true],
  ['user', 'users', false],
  ['time', 'monotonic and boot clocks', false],
];

function namespaceFindings(facts: DoctorFacts): Finding[] {
  return namespaces.map(([file, what, needed]) => {
    if (facts.namespaces.includes(file)) return finding('namespaces', file, 'ok', what);
    const rootless = file === 'user' && facts.euid !== 0;
    return finding(
      'namespaces',
      file,
      needed || rootless ? 'missing' : 'warn',
      `${what}: not in this kernel`,
      `boot a kernel with CONFIG_${file === 'mnt' ? 'NAMESPACES' : `${file.toUpperCase()}_NS`}`,
    );
  });
}

/** Controllers by what a user would miss; cpu is there twice in version 1. */
const limits: readonly [what: string, v1: string, v2: string, advice: string][] = [
  ['memory limits', 'memory', 'memory', 'boot with cgroup_enable=memory'],
  ['cpu limits', 'cpu', 'cpu', 'boot a kernel with CONFIG_CFS_BANDWIDTH'],
  ['limits of processes', 'pids', 'pids', 'boot a kernel with CONFIG_CGROUP_PIDS'],
  ['choice of processors', 'cpuset', 'cpuset', 'boot a kernel with CONFIG_CPUSETS'],
  ['block I/O limits', 'blkio', 'io', 'boot a kernel with CONFIG_BLK_CGROUP'],
];

function cgroupFindings(facts: DoctorFacts): Finding[] {
  const group = 'control groups';
  const { mode } = facts.cgroup;
  if (mode === 'none') {
    const advice = 'mount them: mount -t cgroup2 cgroup2 /sys/fs/cgroup';
    return [finding(group, 'version', 'missing', 'no control groups are mounted', advice)];
  }
  const detail = { unified: 'version 2', hybrid: 'version 1, beside an empty version 2', legacy: 'version 1' }[mode];
  const found = [finding(group, 'version', 'ok', detail)];
  if (facts.euid !== 0 && facts.cgroupParent === undefined) {
    const why =
      mode === 'unified' ? 'no control group is delegated to this user' : 'version 1 cannot be delegated to users';
    const advice =
      mode === 'unified'
        ? 'run keelson in a scope of your own: systemd-run --user --scope -p Delegate=yes keelson …'
        : 'boot with systemd.unified_cgroup_hierarchy=1';
    return [
      ...found,
      finding(group, 'delegation', 'warn', `${why}: limits, pause and statistics are not to be had`, advice),
    ];
  }
  if (facts.euid !== 0) found.push(finding(group, 'delegation', 'ok', `groups are made under ${facts.cgroupParent}`));
  for (const [what, v1, v2, advice] of limits) {
    const controller = mode === 'unified' ? v2 : v1;
    const there = facts.controllers.includes(controller);
    const delegate = 'have systemd delegate it: Delegate=yes in user@.service';
    found.push(
      there
        ? finding(group, controller, 'ok', what)
        : finding(
            group,
            controller,
            'warn',
            `${what}: no controller ${controller}`,
            facts.euid === 0 ? advice : delegate,
          ),
    );
  }
  if (!facts.swapLimit) {
    found.push(finding(group, 'swap', 'warn', 'swap is not counted, so it is not limited', 'boot with swapaccount=1'));
  }
  return found;
}

function fileFindings(facts: DoctorFacts): Finding[] {
  const group = 'files';
  const overlay = facts.modules['overlay'] ?? 'unknown';
  const copies = 'images are copied for every container instead, which takes time and space';
  const status = overlay === 'no' ? 'warn' : 'ok';
  const found = [
    finding(
      group,
      'overlayfs',
      status,
      overlay === 'no' ? `not in this kernel: ${copies}` : present(overlay),
      'boot a kernel with CONFIG_OVERLAY_FS',
    ),
  ];
  if (facts.euid !== 0 && overlay !== 'no' && !kernelAtLeast(facts.kernel, 5, 11)) {
    found.push(finding(group, 'overlayfs for users', 'warn', `comes with Linux 5.11: ${copies}`, 'upgrade the kernel'));
  }
  return found;
}

function present(presence: Presence): string {
  return { yes: 'in force', module: 'a module, loaded when needed', no: 'not there', unknown: 'not known from here' }[
    presence
  ];
}

function networkFindings(facts: DoctorFacts): Finding[] {
  const group = 'network';
  const part = (module: string, name: string, what: string) => {
    const there = facts.modules[module] ?? 'unknown';
    return finding(
      group,
      name,
      there === 'no' ? 'warn' : 'ok',
      there === 'no' ? `${what}: not in this kernel; use --network host or none` : `${what}: ${present(there)}`,
      `boot a kernel with CONFIG_${module.toUpperCase()}`,
    );
  };
  const found = [
    part('bridge', 'bridge', 'the network that containers share'),
    part('veth', 'veth', "a container's link to it"),
    part('nf_tables', 'nftables', 'published ports and masquerading'),
  ];
  // Only root's containers use the bridge; keelson turns forwarding on for it.
  if (facts.euid === 0) {
    const { v4 } = facts.ipForward;
    found.push(
      finding(group, 'forwarding', 'ok', v4 ? 'on' : 'off; turned on when a container first joins the bridge'),
    );
  }
  const off = 'off: containers have IPv4 only';
  found.push(
    finding(
      group,
      'IPv6',
      facts.ipv6 ? 'ok' : 'warn',
      facts.ipv6 ? 'on' : off,
      'set the sysctl net.ipv6.conf.all.disable_ipv6 to 0',
    ),
  );
  return found;
}

const CAP_SYS_ADMIN = 21;
const CAP_SYS_RESOURCE = 24;

function securityFindings(facts: DoctorFacts): Finding[] {
  const group = 'security';
  const found: Finding[] = [];
  const actions = facts.seccompActions;
  found.push(
    actions.includes('errno')
      ? finding(group, 'seccomp', 'ok', `filters with ${actions.join(', ')}`)
      : finding(
          group,
          'seccomp',
          'missing',
          'this kernel filters no system calls',
          'boot a kernel with CONFIG_SECCOMP_FILTER',
        ),
  );
  const lsm = facts.apparmor ? 'AppArmor' : facts.selinux ? 'SELinux' : 'none';
  found.push(
    finding(group, 'security module', 'ok', lsm === 'none' ? 'none: seccomp and capabilities confine alone' : lsm),
  );
  const landlock = facts.lsms.includes('landlock');
  if (facts.lsms.length > 0) found.push(finding(group, 'landlock', 'ok', landlock ? 'in force' : 'not in force'));
  if (facts.euid === 0) {
    const held = facts.capabilities.effective;
    if (!held.includes(CAP_SYS_ADMIN)) {
      const advice = 'run keelson as an ordinary user, or with the capability';
      found.push(
        finding(group, 'capabilities', 'missing', 'root without CAP_SYS_ADMIN cannot make namespaces', advice),
      );
    } else if (!held.includes(CAP_SYS_RESOURCE)) {
      found.push(
        finding(group, 'capabilities', 'warn', 'root without CAP_SYS_RESOURCE cannot raise hard limits (--ulimit)', ''),
      );
    } else found.push(finding(group, 'capabilities', 'ok', `${held.length} held`));
  }
  return found;
}

/** A container's users 0 to 65535. */
const enoughIds = 65536;

function userFindings(facts: DoctorFacts): Finding[] {
  const group = 'users';
  const ids = facts.subordinateIds;
  const ordinary = facts.euid !== 0;
  const found: Finding[] = [];
  const { possible, why } = facts.userNamespaces;
  found.push(
    possible
      ? finding(group, 'user namespaces', 'ok', 'may be made by ordinary users')
      : finding(
          group,
          'user namespaces',
          ordinary ? 'missing' : 'warn',
          `may not be made by ordinary users: ${why ?? 'unknown'}`,
          why?.startsWith('the sysctl') ? `change it: ${sysctlAdvice(why)}` : 'boot a kernel with CONFIG_USER_NS',
        ),
  );
  const [uids, gids] = [ids.uids, ids.gids].map((ranges) => ranges.reduce((sum, range) => sum + range.count, 0));
  const enough = Math.min(uids ?? 0, gids ?? 0) >= enoughIds;
  const user = ordinary ? 'this user' : 'root';
  const give = `give a range: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${ordinary ? '$USER' : 'root'}`;
  if (enough) found.push(finding(group, 'subordinate ids', 'ok', `${uids} users and ${gids} groups for ${user}`));
  else if (ordinary) {
    const detail = `${uids} users and ${gids} groups for this user: a container sees itself as its only user`;
    found.push(finding(group, 'subordinate ids', 'warn', detail, give));
  } else found.push(finding(group, 'subordinate ids', 'ok', 'none for root; wanted for --userns auto only'));
  if (ordinary) {
    const helpers = ids.newuidmap && ids.newgidmap;
    found.push(
      helpers
        ? finding(group, 'newuidmap', 'ok', `${ids.newuidmap}, ${ids.newgidmap}`)
        : finding(group, 'newuidmap', 'warn', 'newuidmap and newgidmap are not there', 'install the package uidmap'),
    );
  }
  return found;
}

/** `sysctl -w name=value` for a reason like "the sysctl user.max_user_namespaces is 0". */
function sysctlAdvice(why: string): string {
  const name = /sysctl (\S+) is/.exec(why)?.[1] ?? '';
  const value =
    { 'user.max_user_namespaces': '15000', 'kernel.apparmor_restrict_unprivileged_userns': '0' }[name] ?? '1';
  return `sysctl -w ${name}=${value}`;
}
