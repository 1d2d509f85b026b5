import { randomBytes } from '../ground/crypto.ts';
import { once } from 'node:events';
import { closeSync, constants, openSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { KeelsonError } from '../ground/errors.ts';
import { AF_UNIX, AT_FDCWD, O_CLOEXEC, O_PATH, openFlags, SOCK_CLOEXEC, SOCK_STREAM } from '../kernel/constants.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';

/**
 * A stream between this process and one plan, for bytes that are too many for the plan's own channel: a unix socket in a private
 * directory. This side listens before the plan runs; the first to connect is the plan, as nobody else may enter the directory.
 */
export class StreamChannel implements AsyncDisposable {
  /** The plan's end of it; rejects when `abandon` comes first. */
  readonly connected: Promise<Socket>;
  readonly #directory: string;
  readonly #name: string;
  readonly #server: Server;
  readonly #fd: number;
  #socket: Socket | undefined;
  #reject: ((error: unknown) => void) | undefined;

  private constructor(directory: string, name: string, server: Server, fd: number) {
    this.#directory = directory;
    this.#name = name;
    this.#server = server;
    this.#fd = fd;
    this.connected = new Promise((resolve, reject) => {
      this.#reject = reject;
      server.once('connection', (socket: Socket) => {
        this.#socket = socket;
        socket.on('error', () => {}); // whoever reads or writes is told; nobody may be, while a plan fails
        server.close();
        resolve(socket);
      });
    });
    this.connected.catch(() => {});
  }

  /** `directory` has mode 0700 and is the caller's own. */
  static async listen(directory: string): Promise<StreamChannel> {
    const name = `stream-${randomBytes(6).toString('hex')}`;
    const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: false });
    try {
      // An address has room for 107 bytes only; the directory's name may be longer.
      server.listen(`/proc/self/fd/${fd}/${name}`);
      await once(server, 'listening');
    } catch (error) {
      closeSync(fd);
      throw new KeelsonError('unavailable', `listening in ${directory}: ${(error as Error).message}`, { cause: error });
    }
    return new StreamChannel(directory, name, server, fd);
  }

  /** The operations that connect. */
  connectSteps(b: PlanBuilder): Reg {
    const flags = O_PATH | openFlags(b.arch).O_DIRECTORY | O_CLOEXEC;
    const directory = b.sys('openat', [AT_FDCWD, this.#directory, flags]);
    b.sys('fchdir', [directory]);
    b.sys('close', [directory]);
    const address = Buffer.alloc(2 + this.#name.length + 1);
    address.writeUInt16LE(AF_UNIX, 0);
    address.write(this.#name, 2);
    const socket = b.sys('socket', [AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0]);
    b.sys('connect', [socket, b.blob(address, `{AF_UNIX, "${this.#name}"}`), address.length]);
    b.sys('chdir', ['/']);
    return socket;
  }

  /** Ends it, and the waiting for it, with this reason. */
  abandon(reason: unknown): void {
    this.#reject?.(reason);
    this.#socket?.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.abandon(new KeelsonError('canceled', 'the stream was closed'));
    if (this.#server.listening) {
      this.#server.close();
      await once(this.#server, 'close');
    }
    closeSync(this.#fd);
  }
}
