/** Has systemd make, change and end the unit that a container's control group belongs to (org.freedesktop.systemd1(5)). */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { KeelsonError, messageOf } from '../../ground/errors.ts';
import { Dbus, DbusError } from '../../kernel/dbus.ts';
import type { DbusValue, Variant } from '../../kernel/dbus-wire.ts';
import type { SystemdManager, UnitProperty } from '../../kernel/systemd-unit.ts';

export type Environment = Readonly<Record<string, string>>;

/** A manager and how its socket is spoken on: it has one of its own, and it is on a bus. */
interface Address {
  readonly path: string;
  readonly bus: boolean;
}

const jobMs = 30_000;
const busName = 'org.freedesktop.systemd1';
const manager = { path: '/org/freedesktop/systemd1', interface: 'org.freedesktop.systemd1.Manager' } as const;

export class Systemd implements Disposable {
  readonly #dbus: Dbus;
  readonly #bus: boolean;

  private constructor(dbus: Dbus, bus: boolean) {
    this.#dbus = dbus;
    this.#bus = bus;
  }

  static async connect(of: SystemdManager, environment: Environment): Promise<Systemd> {
    const tried: string[] = [];
    for (const { path, bus } of addresses(of, environment)) {
      if (!path.startsWith('\0') && !existsSync(path)) continue;
      try {
        const systemd = new Systemd(await Dbus.connect(path, { bus }), bus);
        if (bus) await systemd.#call('Subscribe');
        return systemd;
      } catch (error) {
        tried.push(messageOf(error));
      }
    }
    const hint = of === 'user' ? '; DBUS_SESSION_BUS_ADDRESS and XDG_RUNTIME_DIR say where it is' : '';
    throw new KeelsonError(
      'unavailable',
      `failed to connect to dbus: the ${of}'s systemd does not answer (${tried.join('; ') || 'it has no socket here'})${hint}`,
    );
  }

  /** 252 of `252.38-1~deb12u1`. */
  async version(): Promise<number> {
    return Number(/\d+/.exec(await this.#property('Version'))?.[0] ?? 0);
  }

  /** The manager's own control group, below which its units have theirs. */
  controlGroup(): Promise<string> {
    return this.#property('ControlGroup');
  }

  /** Starts a unit that exists only as long as it runs. What a failed one of the same name left is cleared first. */
  async start(unit: string, properties: readonly UnitProperty[]): Promise<void> {
    const start = () => this.#job('StartTransientUnit', 'ssa(sv)a(sa(sv))', [unit, 'replace', typed(properties), []]);
    let result: string;
    try {
      result = await start();
    } catch (error) {
      if (!isDbus(error, 'UnitExists')) throw refused(`starting the unit ${unit}`, error);
      await this.resetFailed(unit);
      result = await start().catch((again: unknown) => {
        throw refused(`starting the unit ${unit}`, again);
      });
    }
    if (result === 'done') return;
    await this.resetFailed(unit);
    throw new KeelsonError('unavailable', `systemd could not start the unit ${unit}: ${result}`);
  }

  async setProperties(unit: string, properties: readonly UnitProperty[]): Promise<void> {
    try {
      await this.#call('SetUnitProperties', 'sba(sv)', [unit, true, typed(properties)]);
    } catch (error) {
      throw refused(`setting the properties of the unit ${unit}`, error);
    }
  }

  /** Moves a process into the unit's group, or one below it (`/` or `/sub`): what a user may not do by itself across the trees of others. */
  async attach(unit: string, below: string, pid: number): Promise<void> {
    try {
      await this.#call('AttachProcessesToUnit', 'ssau', [unit, below, [pid]]);
    } catch (error) {
      throw refused(`adding pid ${pid} to cgroups of the unit ${unit}`, error);
    }
  }

  /** Ends the unit and all that is in it; one that is gone already is fine. */
  async stop(unit: string): Promise<void> {
    try {
      await this.#job('StopUnit', 'ss', [unit, 'replace']);
    } catch (error) {
      if (!isDbus(error, 'NoSuchUnit')) throw refused(`stopping the unit ${unit}`, error);
    }
    await this.resetFailed(unit);
  }

  /** A unit that failed stays until this is called. */
  async resetFailed(unit: string): Promise<void> {
    await this.#call('ResetFailedUnit', 's', [unit]).catch(() => {});
  }

  [Symbol.dispose](): void {
    this.#dbus[Symbol.dispose]();
  }

  #call(member: string, signature = '', body: readonly DbusValue[] = []): Promise<readonly DbusValue[]> {
    return this.#dbus.call({ ...manager, ...this.#destination(), member, signature, body });
  }

  #destination(): { destination?: string } {
    return this.#bus ? { destination: busName } : {};
  }

  async #property(name: string): Promise<string> {
    const [value] = await this.#dbus.call({
      path: manager.path,
      interface: 'org.freedesktop.DBus.Properties',
      member: 'Get',
      ...this.#destination(),
      signature: 'ss',
      body: [manager.interface, name],
    });
    const found = (value as Variant | undefined)?.value;
    if (typeof found !== 'string') throw new KeelsonError('corrupt', `systemd's ${name} is not a string`);
    return found;
  }

  /** A call that queues a job, and that job's result: `done`, `failed`, `timeout` … It may have ended before the call returns. */
  async #job(member: string, signature: string, body: readonly DbusValue[]): Promise<string> {
    if (this.#bus) await this.#match();
    const ended = new Map<string, string>();
    let job: string | undefined;
    const result = this.#dbus.waitFor(
      ({ member: name, body: values = [] }) => {
        if (name !== 'JobRemoved') return undefined;
        ended.set(values[1] as string, values[3] as string);
        return job === undefined ? undefined : ended.get(job);
      },
      { milliseconds: jobMs },
    );
    result.catch(() => {});
    [job] = (await this.#call(member, signature, body)) as [string];
    return ended.get(job) ?? (await result);
  }

  async #match(): Promise<void> {
    await this.#dbus.call({
      path: '/org/freedesktop/DBus',
      interface: 'org.freedesktop.DBus',
      destination: 'org.freedesktop.DBus',
      member: 'AddMatch',
      signature: 's',
      body: [`type='signal',interface='${manager.interface}',member='JobRemoved'`],
    });
  }
}

function typed(properties: readonly UnitProperty[]): DbusValue {
  return properties.map(({ name, type, value }) => [name, { type, value }]);
}

function isDbus(error: unknown, name: string): boolean {
  return error instanceof DbusError && error.name.endsWith(`.${name}`);
}

function refused(doing: string, cause: unknown): Error {
  if (!(cause instanceof DbusError)) return cause as Error;
  const code = isDbus(cause, 'UnitExists') ? 'already-exists' : isDbus(cause, 'AccessDenied') ? 'denied' : 'kernel';
  return new KeelsonError(code, `${doing}: ${cause.message} (${cause.name})`, { cause });
}

/** In the order in which they are tried. */
function addresses(of: SystemdManager, environment: Environment): readonly Address[] {
  if (of === 'system') {
    return [
      { path: '/run/systemd/private', bus: false },
      { path: '/run/dbus/system_bus_socket', bus: true },
    ];
  }
  const session = environment['DBUS_SESSION_BUS_ADDRESS'];
  const directory = environment['XDG_RUNTIME_DIR'] ?? `/run/user/${ownerUid()}`;
  return [
    ...(session === undefined ? [] : socketsOf(session)),
    { path: join(directory, 'bus'), bus: true },
    { path: join(directory, 'systemd/private'), bus: false },
  ];
}

/** `unix:path=/run/user/1000/bus;unix:abstract=x`, bytes escaped as %20. */
function socketsOf(address: string): readonly Address[] {
  return address.split(';').flatMap((one) => {
    const match = /^unix:(?:.*,)?(path|abstract)=([^,]*)/.exec(one);
    if (!match?.[2]) return [];
    const name = match[2].replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
    return [{ path: match[1] === 'path' ? name : `\0${name}`, bus: true }];
  });
}

/** Who we are outside of our user namespace: root in it is the user who made it. */
function ownerUid(): number {
  try {
    const [, outside] = /^\s*0\s+(\d+)/.exec(readFileSync('/proc/self/uid_map', 'utf8')) ?? [];
    const uid = process.geteuid?.() ?? 0;
    return uid === 0 && outside !== undefined ? Number(outside) : uid;
  } catch {
    return process.geteuid?.() ?? 0;
  }
}
