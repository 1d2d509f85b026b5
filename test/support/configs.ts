/** Configs for plans: the least there is, and as many random ones as a seed gives. Paths inside the container begin with /in, those of the host don't. */
import type { LinuxNamespace, Mount, Spec } from '../../src/spec/runtime.ts';
import {
  namespaceTypes,
  personalityDomains,
  rootfsPropagations,
  schedulerPolicies,
  seccompActions,
} from '../../src/spec/runtime.ts';

export const least: Spec = {
  ociVersion: '1.2.1',
  root: { path: 'rootfs' },
  process: { user: { uid: 0, gid: 0 }, cwd: '/', args: ['/bin/true'], env: ['PATH=/bin', 'HOME=/'] },
  linux: { namespaces: [{ type: 'mount' }] },
};

/** mulberry32: the same numbers for the same seed, everywhere. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const capabilities = [
  'CAP_CHOWN',
  'CAP_KILL',
  'CAP_SYS_ADMIN',
  'CAP_NET_RAW',
  'CAP_SYS_PTRACE',
  'CAP_SETUID',
  'CAP_MKNOD',
];
const options = ['ro', 'nosuid', 'noexec', 'nodev', 'relatime', 'rprivate', 'rslave', 'rro', 'nosymfollow', 'rshared'];
const standard: readonly Mount[] = [
  { destination: '/proc', type: 'proc', source: 'proc' },
  { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
  { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['newinstance', 'ptmxmode=0666'] },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['ro'] },
  { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro'] },
];

/** A config that the specification allows. */
export function randomConfig(seed: number): Spec {
  const random = randomOf(seed);
  const chance = (of: number) => random() < of;
  const number = (below: number) => Math.floor(random() * below);
  const pick = <T>(list: readonly T[]): T => list[number(list.length)] as T;
  const some = <T>(list: readonly T[], of = 0.5): T[] => list.filter(() => chance(of));
  const many = <T>(most: number, make: (i: number) => T): T[] =>
    Array.from({ length: number(most + 1) }, (_, i) => make(i));
  const maybe = <T extends object>(of: number, make: () => T): T | Record<string, never> => (chance(of) ? make() : {});
  const inside = (i: number) => `/in${i}${chance(0.5) ? '/deeper' : ''}`;

  const types = namespaceTypes.filter((type) => type === 'mount' || (type === 'user' ? chance(0.25) : chance(0.6)));
  const joinable = (type: string) => !['mount', 'user', 'time'].includes(type);
  const namespaces: LinuxNamespace[] = types.map((type) =>
    joinable(type) && chance(0.15) ? { type, path: `/var/run/ns/${type}` } : { type },
  );
  const fresh = (type: string) => namespaces.some((n) => n.type === type && n.path === undefined);
  const hook = () => ({
    path: '/usr/bin/hook',
    args: ['hook', 'x'],
    ...maybe(0.5, () => ({ timeout: 1 + number(9) })),
  });
  const hooks = () => many(2, hook);
  const sets = () => some(capabilities);
  const permitted = sets();
  const mount = (i: number): Mount => {
    const common = { destination: inside(i), options: some(options, 0.2) };
    if (chance(0.4)) return { ...common, type: 'tmpfs', source: 'tmpfs' };
    if (chance(0.2)) return { ...common, type: 'mqueue', source: 'mqueue' };
    return {
      ...common,
      type: 'bind',
      source: pick(['/etc', '/etc/hostname', '/usr']),
      options: [pick(['bind', 'rbind']), ...common.options],
    };
  };
  return {
    ociVersion: '1.2.1',
    root: { path: 'rootfs', readonly: chance(0.5) },
    ...(types.includes('uts') && maybe(0.5, () => ({ hostname: 'box', domainname: 'example' }))),
    process: {
      terminal: chance(0.3),
      user: {
        uid: pick([0, 1, 1000]),
        gid: pick([0, 1000]),
        ...maybe(0.5, () => ({ umask: 0o027 })),
        ...maybe(0.5, () => ({ additionalGids: many(3, (i) => i + 5) })),
      },
      cwd: pick(['/', '/in0']),
      args: pick([['/in1/program'], ['program', 'x']]),
      env: ['PATH=/bin:/in2', ...(chance(0.7) ? ['HOME=/'] : [])],
      noNewPrivileges: chance(0.5),
      ...maybe(0.8, () => ({
        capabilities: {
          bounding: [...new Set([...permitted, ...sets()])],
          permitted,
          effective: some(permitted),
          inheritable: some(permitted, 0.2),
          ambient: [],
        },
      })),
      ...maybe(0.3, () => ({ rlimits: [{ type: 'RLIMIT_NOFILE', soft: 64, hard: 128 }] })),
      ...maybe(0.3, () => ({ oomScoreAdj: number(1000) })),
      ...maybe(0.2, () => ({ apparmorProfile: 'profile' })),
      ...maybe(0.2, () => ({ selinuxLabel: 'label' })),
      ...maybe(0.2, () => ({ scheduler: { policy: pick(schedulerPolicies.slice(0, 1)), nice: 3 } })),
      ...maybe(0.2, () => ({ ioPriority: { class: 'IOPRIO_CLASS_BE' as const, priority: number(8) } })),
    },
    mounts: [...some(standard, 0.85), ...many(5, mount)],
    ...maybe(0.4, () => ({
      hooks: {
        prestart: hooks(),
        createRuntime: hooks(),
        createContainer: hooks(),
        startContainer: hooks(),
        poststart: hooks(),
      },
    })),
    linux: {
      namespaces,
      ...(fresh('user') && {
        uidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
        gidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
      }),
      ...(fresh('time') && maybe(0.5, () => ({ timeOffsets: { boottime: { secs: 100 } } }))),
      ...maybe(0.4, () => ({
        devices: many(3, (i) => ({ path: `/in${i}/node${i}`, type: pick(['c', 'b'] as const), major: 1, minor: i })),
      })),
      ...maybe(0.6, () => ({ maskedPaths: many(4, inside), readonlyPaths: many(4, inside) })),
      ...(fresh('network') && maybe(0.3, () => ({ sysctl: { 'net.ipv4.ip_forward': '1' } }))),
      ...maybe(0.3, () => ({ rootfsPropagation: pick(rootfsPropagations) })),
      ...maybe(0.1, () => ({ personality: { domain: pick(personalityDomains) } })),
      ...maybe(0.5, () => ({
        resources: {
          devices: [
            { allow: false, access: 'rwm' },
            { allow: true, type: 'c' as const, major: 1, minor: 3, access: 'rw' },
          ],
          ...maybe(0.5, () => ({ memory: { limit: 1 << 26 } })),
          ...maybe(0.5, () => ({ pids: { limit: 50 } })),
          ...maybe(0.5, () => ({ cpu: { shares: 512, quota: 50_000, period: 100_000 } })),
        },
      })),
      ...maybe(0.6, () => ({
        seccomp: {
          defaultAction: pick(['SCMP_ACT_ERRNO', 'SCMP_ACT_ALLOW'] as const),
          architectures: ['SCMP_ARCH_X86_64' as const],
          syscalls: many(3, (i) => ({
            names: [['mkdir'], ['read', 'write'], ['mount']][i] as string[],
            action: pick(seccompActions.filter((a) => a !== 'SCMP_ACT_NOTIFY')),
          })),
        },
      })),
    },
  };
}
