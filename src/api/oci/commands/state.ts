import { setTimeout as sleep } from 'node:timers/promises';
import { type ContainerState, statusOf } from '../../../runtime/lifecycle/container-state.ts';
import type { Found } from '../../../runtime/lifecycle/state-store.ts';
import type { Command } from '../session.ts';
import { containerId } from './create.ts';

export const state: Command = {
  flags: {},
  async run({ call, host }, args) {
    const id = containerId(args);
    let document = stateDocument(host.store.find(id));
    // Who asks again and again until there is an answer (runc and crun have none before a container is made) waits here; not for ever,
    // as a hook may ask, too.
    for (let turn = 0; document['status'] === 'creating' && turn < 100; turn++) {
      await sleep(10);
      document = stateDocument(host.store.find(id));
    }
    call.stdout(`${JSON.stringify(document, null, 2)}\n`);
    return 0;
  },
};

/** As runc prints it: the specification's state and some more. */
export function stateDocument(found: Found): Record<string, unknown> {
  const known = found.state;
  const status = statusOf(known, found.files);
  return {
    ociVersion: known.keelson.ociVersion,
    id: known.id,
    pid: status === 'stopped' ? 0 : known.init_process_pid,
    status,
    bundle: known.keelson.bundle,
    rootfs: known.config.rootfs,
    created: known.created,
    ...annotations(known),
    ...(known.keelson.unit && { 'systemd-scope': known.keelson.unit.name }),
    owner: '',
  };
}

function annotations({ keelson }: ContainerState): { annotations?: Readonly<Record<string, string>> } {
  return Object.keys(keelson.annotations).length > 0 ? { annotations: keelson.annotations } : {};
}
