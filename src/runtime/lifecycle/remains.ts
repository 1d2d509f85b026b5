/** What is left of a container whose state was never written, or can't be read any more. */
import { readFileSync } from 'node:fs';
import { cgroupDriver, cgroupPath } from '../../kernel/cgroup.ts';
import type { Cgroup } from '../../kernel/cgroup-driver.ts';
import { parseConfig } from '../../spec/config.ts';
import { containerFiles, type ContainerState } from './container-state.ts';
import { killAll, removeGroups } from './discard.ts';
import type { Host } from './host.ts';
import { checkId } from './state-store.ts';

/** Ends what is in the control groups that the config it was made from names, and removes those and its directory. */
export async function removeRemains(host: Host, id: string): Promise<void> {
  checkId(id);
  const files = containerFiles(host.store.root, id);
  const cgroup = cgroupOf(host, id, files.config);
  if (cgroup) {
    const state: ContainerState = {
      id,
      init_process_pid: 0,
      init_process_start: 0,
      created: '',
      rootless: false,
      cgroup_paths: cgroup.directories,
      namespace_paths: {},
      external_descriptors: [],
      intel_rdt_path: '',
      config: { rootfs: '', labels: [], version: '' },
      keelson: { ociVersion: '', bundle: '', annotations: {}, cgroup, owner: '' },
    };
    await killAll(host, { state, files });
    await removeGroups(host, state);
  }
  host.store.remove(files);
}

function cgroupOf({ facts, rootless, cgroupManager }: Host, id: string, config: string): Cgroup | undefined {
  let cgroupsPath: string | undefined;
  try {
    cgroupsPath = parseConfig(readFileSync(config, 'utf8')).linux?.cgroupsPath;
  } catch {
    return undefined; // it died before anything was made
  }
  if (facts.cgroup.mode === 'none' || cgroupManager !== 'cgroupfs') return undefined;
  const given = cgroupsPath === undefined ? {} : { cgroupsPath };
  const path = cgroupPath({ facts: facts.cgroup, rootless: rootless.cgroups, id, ...given });
  return path === undefined ? undefined : cgroupDriver(facts.cgroup).locate(facts.cgroup, path);
}
