/** A client of D-Bus, for the few calls to systemd that control groups need: one connection, calls, and a signal to wait for. */
import { createConnection, type Socket } from 'node:net';
import { fromSystemError, KeelsonError } from '../ground/errors.ts';
import { decodeMessage, encodeMessage, messageTypes, type DbusMessage, type DbusValue } from './dbus-wire.ts';

export interface DbusCall {
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  /** Only a bus has more than one. */
  readonly destination?: string;
  readonly signature?: string;
  readonly body?: readonly DbusValue[];
}

interface Pending {
  readonly resolve: (body: readonly DbusValue[]) => void;
  readonly reject: (error: Error) => void;
}

/** What the other side says when it refuses a call; `name` is its error's: `org.freedesktop.systemd1.NoSuchUnit`. */
export class DbusError extends Error {
  override readonly name: string;

  constructor(name: string, message: string) {
    super(message);
    this.name = name;
  }
}

export class Dbus implements Disposable {
  readonly #socket: Socket;
  readonly #calls = new Map<number, Pending>();
  readonly #listeners = new Set<(signal: DbusMessage) => void>();
  readonly #open = Promise.withResolvers<void>();
  #received: Buffer = Buffer.alloc(0);
  #authenticated = false;
  #serial = 0;
  #gone: Error | undefined;

  private constructor(path: string) {
    this.#socket = createConnection({ path });
    this.#open.promise.catch(() => {});
    this.#socket.on('data', (bytes) => {
      try {
        this.#receive(bytes);
      } catch (error) {
        this.#lose(error as Error);
      }
    });
    this.#socket.on('error', (error) => this.#lose(fromSystemError(error, `connecting to D-Bus at ${path}`)));
    this.#socket.on('close', () =>
      this.#lose(new KeelsonError('unavailable', `D-Bus at ${path} closed the connection`)),
    );
    // Who we are the kernel tells (SO_PEERCRED): an empty identity stands for that, in whatever user namespace we are.
    this.#socket.write('\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n');
  }

  /** `path`: of a unix socket; one that begins with NUL is abstract. `bus`: others are there as well, and it wants a greeting. */
  static async connect(path: string, options: { bus: boolean }): Promise<Dbus> {
    const dbus = new Dbus(path);
    try {
      await dbus.#open.promise;
      const bus = { path: '/org/freedesktop/DBus', destination: 'org.freedesktop.DBus' };
      if (options.bus) await dbus.call({ ...bus, interface: 'org.freedesktop.DBus', member: 'Hello' });
      return dbus;
    } catch (error) {
      dbus[Symbol.dispose]();
      throw error;
    }
  }

  call(call: DbusCall): Promise<readonly DbusValue[]> {
    return new Promise((resolve, reject) => {
      if (this.#gone) return reject(this.#gone);
      const serial = ++this.#serial;
      this.#calls.set(serial, { resolve, reject });
      this.#socket.write(encodeMessage({ ...call, type: messageTypes.call, serial }));
    });
  }

  /** The first answer of `pick` to a signal that is not undefined. Signals that arrive before the call are not seen. */
  waitFor<T>(pick: (signal: DbusMessage) => T | undefined, options: { milliseconds: number }): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#gone) return reject(this.#gone);
      const stop = () => {
        clearTimeout(timer);
        this.#listeners.delete(listener);
        this.#socket.off('close', onClose);
      };
      const onClose = () => {
        stop();
        reject(this.#gone);
      };
      const listener = (signal: DbusMessage) => {
        const picked = pick(signal);
        if (picked === undefined) return;
        stop();
        resolve(picked);
      };
      const timer = setTimeout(() => {
        stop();
        reject(new KeelsonError('timeout', `no answer over D-Bus within ${options.milliseconds / 1000} s`));
      }, options.milliseconds);
      this.#listeners.add(listener);
      this.#socket.on('close', onClose);
    });
  }

  [Symbol.dispose](): void {
    this.#lose(new KeelsonError('canceled', 'the connection to D-Bus was closed'));
  }

  #receive(bytes: Buffer): void {
    this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
    if (!this.#authenticated) {
      const answer = /^(?:DATA[^\r]*\r\n)?(OK|REJECTED|ERROR)[^\r]*\r\n/.exec(this.#received.toString('latin1'));
      if (!answer) {
        if (this.#received.length > 4096) throw new KeelsonError('corrupt', 'D-Bus: authentication does not end');
        return;
      }
      if (answer[1] !== 'OK') throw new KeelsonError('denied', `D-Bus refuses us: ${answer[0].trim()}`);
      this.#authenticated = true;
      this.#received = this.#received.subarray(answer[0].length);
      this.#open.resolve();
    }
    for (let next = decodeMessage(this.#received); next; next = decodeMessage(this.#received)) {
      this.#received = this.#received.subarray(next.size);
      this.#dispatch(next.message);
    }
  }

  #dispatch(message: DbusMessage): void {
    const { type, replySerial, errorName, body = [] } = message;
    if (type === messageTypes.signal) for (const listener of this.#listeners) listener(message);
    const pending = replySerial === undefined ? undefined : this.#calls.get(replySerial);
    if (!pending || replySerial === undefined) return;
    this.#calls.delete(replySerial);
    if (type === messageTypes.error)
      pending.reject(new DbusError(errorName ?? 'unnamed', typeof body[0] === 'string' ? body[0] : (errorName ?? '')));
    else pending.resolve(body);
  }

  #lose(error: Error): void {
    if (this.#gone) return;
    this.#gone = error;
    this.#open.reject(error);
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
    this.#socket.destroy();
  }
}
