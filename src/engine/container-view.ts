import { containerPaths, type Parts } from './parts.ts';
import type { ContainerRecord, ResolvedMount } from './record.ts';
import type { Container, ContainerMount, ContainerNetwork } from './types.ts';

/** A row as `inspect` and `ps` show it. */
export function containerView(parts: Pick<Parts, 'paths' | 'volumes'>, record: ContainerRecord): Container {
  const at = containerPaths(parts.paths, record.id);
  const { config, path, args, mounts } = record.spec;
  return {
    id: record.id,
    name: record.name,
    config,
    imageId: record.imageId,
    path,
    args,
    createdAt: record.createdAt,
    state: {
      state: record.state,
      pid: record.pid,
      exitCode: record.exitCode,
      oomKilled: record.oomKilled,
      error: record.error,
      startedAt: record.startedAt,
      finishedAt: record.finishedAt,
    },
    network: { ...noNetwork, mode: config.network ?? 'bridge', ...record.network },
    mounts: mounts.map((mount) => mountView(parts, mount)),
    restartCount: record.restartCount,
    logPath: config.logDriver === 'none' ? '' : at.log,
    hostnamePath: at.hostname,
    hostsPath: at.hosts,
    resolvConfPath: at.resolvConf,
  };
}

const noNetwork: Omit<ContainerNetwork, 'mode'> = {
  ip: '',
  prefixLength: 0,
  gateway: '',
  ip6: '',
  prefixLength6: 0,
  gateway6: '',
  mac: '',
  ports: [],
};

function mountView(parts: Pick<Parts, 'volumes'>, mount: ResolvedMount): ContainerMount {
  return {
    type: mount.type,
    name: mount.name,
    source: mount.type === 'volume' ? parts.volumes.path(mount.name) : mount.source,
    target: mount.target,
    readOnly: mount.readOnly,
    propagation: mount.type === 'bind' ? (mount.propagation ?? 'rprivate') : '',
  };
}
