import { setTimeout as sleep } from 'node:timers/promises';
import { type MachineState, readMachineState, type StateScope } from './machine-state.ts';

export interface LeakCheck extends AsyncDisposable {
  /** Throws a LeakError that lists what is there and was not there before. Waits up to `patienceMs` for it to go away. */
  verify(): Promise<void>;
}

export interface LeakOptions extends StateScope {
  /** How long teardown may take after the last command has returned; 10 s where absent. */
  readonly patienceMs?: number;
  /** What may stay, as it is printed: `container files /…/x`. */
  readonly allow?: readonly RegExp[];
}

export class LeakError extends Error {
  readonly leaks: readonly string[];

  constructor(leaks: readonly string[]) {
    super(`left behind:\n${leaks.map((leak) => `  ${leak}`).join('\n')}`);
    this.name = 'LeakError';
    this.leaks = leaks;
  }
}

/**
 * Remembers what mounts, namespaces, processes, links, addresses, nftables rules, cgroups, files and listening sockets there are,
 * and finds at the end what has been added. Disposing verifies:
 *
 *     await using leaks = await leakCheck({ root, run });
 */
export async function leakCheck(options: LeakOptions): Promise<LeakCheck> {
  const before = await readMachineState(options);
  const verify = async (): Promise<void> => {
    const until = Date.now() + (options.patienceMs ?? 10_000);
    for (;;) {
      const leaks = added(before, await readMachineState(options)).filter(
        (leak) => !(options.allow ?? []).some((pattern) => pattern.test(leak)),
      );
      if (leaks.length === 0) return;
      if (Date.now() >= until) throw new LeakError(leaks);
      await sleep(100);
    }
  };
  return { verify, [Symbol.asyncDispose]: verify };
}

function added(before: MachineState, after: MachineState): string[] {
  return Object.entries(after).flatMap(([kind, things]) => {
    const known: ReadonlySet<string> = before[kind as keyof MachineState];
    return [...things].filter((thing) => !known.has(thing)).map((thing) => `${kind}: ${thing}`);
  });
}
