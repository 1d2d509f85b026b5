import type { LinuxDevice, LinuxDeviceRule, LinuxResources } from '../spec/runtime.ts';
import type { DeviceSpec, Resources } from './types.ts';

/** Docker's resources in the specification's shape and units. */
export function linuxResources(r: Resources): LinuxResources {
  const memory = {
    ...(r.memory ? { limit: r.memory, swap: r.memorySwap || r.memory * 2 } : {}),
    ...(r.memoryReservation && { reservation: r.memoryReservation }),
    ...(r.memorySwappiness !== undefined && r.memorySwappiness >= 0 && { swappiness: r.memorySwappiness }),
    ...(r.oomKillDisable && { disableOOMKiller: true }),
  };
  const period = 100_000;
  const cpu = {
    ...(r.cpuShares && { shares: r.cpuShares }),
    ...(r.nanoCpus ? { period, quota: Math.round((r.nanoCpus * period) / 1e9) } : {}),
    ...(r.cpuPeriod && { period: r.cpuPeriod }),
    ...(r.cpuQuota && { quota: r.cpuQuota }),
    ...(r.cpusetCpus && { cpus: r.cpusetCpus }),
    ...(r.cpusetMems && { mems: r.cpusetMems }),
  };
  return {
    ...(Object.keys(memory).length > 0 && { memory }),
    ...(Object.keys(cpu).length > 0 && { cpu }),
    ...(r.pidsLimit !== undefined && r.pidsLimit !== 0 && { pids: { limit: r.pidsLimit } }),
    ...(r.blkioWeight && { blockIO: { weight: r.blkioWeight } }),
  };
}

/** Docker's device rules: nothing but mknod, the standard nodes and terminals; then what was asked for. */
export function deviceRules(devices: readonly LinuxDevice[], specs: readonly DeviceSpec[]): readonly LinuxDeviceRule[] {
  const rule = (major: number, minor?: number): LinuxDeviceRule => ({
    allow: true,
    type: 'c',
    major,
    ...(minor !== undefined && { minor }),
    access: 'rwm',
  });
  const asked = devices.flatMap((device): LinuxDeviceRule[] => {
    if (device.major === undefined || device.minor === undefined) return [];
    const spec = specs.find((s) => device.path === s.containerPath || device.path.startsWith(`${s.containerPath}/`));
    const type = device.type === 'b' ? 'b' : 'c';
    return [{ allow: true, type, major: device.major, minor: device.minor, access: spec?.permissions || 'rwm' }];
  });
  return [
    { allow: false, access: 'rwm' },
    { allow: true, type: 'c', access: 'm' },
    { allow: true, type: 'b', access: 'm' },
    ...[3, 5, 7, 8, 9].map((minor) => rule(1, minor)),
    rule(5, 0),
    rule(5, 1),
    rule(5, 2),
    rule(136),
    ...asked,
  ];
}
