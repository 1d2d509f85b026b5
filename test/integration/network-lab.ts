/**
 * Hosts and containers for the network tests, each in a network namespace of its own on this kernel: `host` is this process's
 * namespace, `neighbour` another machine on the same wire, containers are processes on keelson0, started by real plans and kept by
 * real keepers (without a root file system of their own: this is about the network).
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CLONE_NEWNET, O_CLOEXEC } from '../../src/kernel/constants.ts';
import { Keel } from '../../src/kernel/keel.ts';
import { PlanBuilder } from '../../src/kernel/plan-builder.ts';
import { hostArch } from '../../src/kernel/syscalls.ts';
import { boundPortsTag, BridgeNetwork, publishError, type Attachment } from '../../src/network/bridge-network.ts';
import type { PortSpec } from '../../src/network/types.ts';
import type { Database } from '../../src/store/database.ts';
import { openStore } from '../../src/store/store.ts';

const agentScript = join(import.meta.dirname, 'network-agent.mjs');

export function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}

/** Objects of `nft -j list ruleset`, or of another list. */
export function nftObjects(...what: string[]): Record<string, Record<string, unknown>>[] {
  const text = execFileSync('nft', ['-j', 'list', ...(what.length > 0 ? what : ['ruleset'])], { encoding: 'utf8' });
  return (JSON.parse(text) as { nftables: Record<string, Record<string, unknown>>[] }).nftables;
}

/** A process that serves and calls. */
export class Agent {
  readonly #control: string;

  constructor(control: string) {
    this.#control = control;
  }

  async ready(): Promise<this> {
    for (const deadline = Date.now() + 10_000; !(await this.#answers()); await sleep(5)) {
      if (Date.now() > deadline) throw new Error(`${this.#control} did not come up`);
    }
    return this;
  }

  /** The socket's file is there a moment before it listens. */
  async #answers(): Promise<boolean> {
    const socket = createConnection(this.#control);
    try {
      await once(socket, 'connect');
      return true;
    } catch {
      return false;
    } finally {
      socket.destroy();
    }
  }

  /** What the other side answers ("c1 sees 10.77.0.1"), or the errno. `from`: the port to call from, for UDP. */
  async call(protocol: 'tcp' | 'udp', host: string, port: number, from?: number): Promise<string> {
    const socket = createConnection(this.#control);
    socket.setEncoding('utf8');
    socket.write(`${JSON.stringify({ protocol, host, port, from })}\n`);
    let text = '';
    for await (const chunk of socket as AsyncIterable<string>) text += chunk;
    return JSON.parse(text) as string;
  }
}

export interface LabContainer extends Agent, AsyncDisposable {
  readonly id: string;
  readonly pid: number;
  readonly keeperPid: number;
  readonly attachment: Attachment;
  readonly ports: readonly PortSpec[];
  /** Ends it and waits for its keeper. */
  stop(): Promise<void>;
  /** Ends both with SIGKILL, so that nobody tidies up. */
  kill(): Promise<void>;
}

export interface Lab extends AsyncDisposable {
  readonly keel: Keel;
  readonly db: Database;
  readonly network: BridgeNetwork;
  readonly host: Agent;
  readonly neighbour: Agent;
  /** Serves TCP and UDP on port 80. */
  start(id: string, ports?: readonly PortSpec[]): Promise<LabContainer>;
}

export const hostAddress = '198.51.100.1';
export const hostAddress6 = '2001:db8:100::1';
export const neighbourAddress = '198.51.100.2';
export const neighbourAddress6 = '2001:db8:100::2';

export async function makeLab(): Promise<Lab> {
  const folder = mkdtempSync(join(tmpdir(), 'keelson-net-'));
  const agents: ChildProcess[] = [];
  const agent = async (name: string, command: readonly string[], ports: readonly number[] = []): Promise<Agent> => {
    const control = join(folder, `${name}.sock`);
    const [program = '', ...args] = [...command, process.execPath, agentScript, name, control, ...ports.map(String)];
    agents.push(spawn(program, args, { stdio: 'inherit' }));
    return new Agent(control).ready();
  };
  ip('netns', 'add', 'neighbour');
  ip('link', 'add', 'wire0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'neighbour');
  ip('address', 'add', `${hostAddress}/24`, 'dev', 'wire0');
  ip('-6', 'address', 'add', `${hostAddress6}/64`, 'dev', 'wire0', 'nodad');
  // No duplicate address detection: the link-local addresses are needed at once.
  execFileSync('sysctl', ['-qw', 'net.ipv6.conf.wire0.accept_dad=0']);
  execFileSync('ip', ['netns', 'exec', 'neighbour', 'sysctl', '-qw', 'net.ipv6.conf.eth0.accept_dad=0']);
  ip('link', 'set', 'wire0', 'up');
  ip('-n', 'neighbour', 'address', 'add', `${neighbourAddress}/24`, 'dev', 'eth0');
  ip('-n', 'neighbour', '-6', 'address', 'add', `${neighbourAddress6}/64`, 'dev', 'eth0', 'nodad');
  for (const link of ['lo', 'eth0']) ip('-n', 'neighbour', 'link', 'set', link, 'up');
  const [host, neighbour] = await Promise.all([
    agent('host', []),
    agent('neighbour', ['ip', 'netns', 'exec', 'neighbour'], [80]),
  ]);
  const keel = Keel.spawn();
  const db = openStore({ root: folder });
  const network = new BridgeNetwork(db);
  const start: Lab['start'] = (id, ports = []) => startContainer({ keel, network, folder }, id, ports);
  return {
    ...{ keel, db, network, host, neighbour, start },
    async [Symbol.asyncDispose]() {
      await keel.close();
      db.close();
      for (const process of agents) process.kill('SIGKILL');
      ip('netns', 'delete', 'neighbour');
      rmSync(folder, { recursive: true });
    },
  };
}

export async function startContainer(
  { keel, network, folder }: { keel: Keel; network: BridgeNetwork; folder: string },
  id: string,
  ports: readonly PortSpec[],
): Promise<LabContainer> {
  const control = join(folder, `${id}.agent`);
  const attachment = network.attach(id, ports);
  const b = new PlanBuilder(hostArch()).group('test').doing('starting a test container');
  const pipe = () => {
    const ends = b.blob(8);
    b.sys('pipe2', [ends, O_CLOEXEC]);
    return { read: b.peek(ends, 4), write: b.peek({ ...ends, offset: 4 }, 4) };
  };
  const [go, gate] = [pipe(), pipe()];
  const argv = [process.execPath, agentScript, id, control, '80'];
  const child = b.clone({ flags: CLONE_NEWNET, name: 'container' }, () => {
    for (const fd of [go.write, gate.write]) b.sys('close', [fd]);
    b.sys('read', [go.read, b.blob(1), 1]);
    attachment.container(b);
    b.doing('starting the agent').sys('read', [gate.read, b.blob(1), 1]);
    b.sys('execve', [process.execPath, b.strings(argv), b.strings([`PATH=${process.env['PATH']}`])]);
  });
  for (const fd of [go.read, gate.read]) b.sys('close', [fd]);
  const { relays } = attachment.host(b, child.pid);
  b.doing('letting the container go').write(go.write, 'g');
  if (!child.pidfd) throw new Error('no pidfd');
  b.keep(
    {
      ...{ pid: child.pid, pidfd: child.pidfd, gate: gate.write, report: child.report, relays },
      ...{
        stdinOnce: false,
        socket: join(folder, `${id}.sock`),
        exitRecord: join(folder, `${id}.exit`),
        snapshots: [],
      },
    },
    () => attachment.teardown(b),
  );
  let bound: readonly bigint[] = [];
  const onReport = (message: { tag: number; registers: readonly bigint[] }): void => {
    if (message.tag === boundPortsTag) bound = message.registers;
  };
  const kept = await keel.keep(b.build(), { onReport }).catch((error: unknown) => {
    network.release(id);
    throw publishError(error);
  });
  await kept.start();
  const end = async (...pids: number[]): Promise<void> => {
    for (const pid of pids) if (existsSync(`/proc/${pid}/exe`)) process.kill(pid, 'SIGKILL');
    while (existsSync(`/proc/${kept.keeperPid}/exe`) || existsSync(`/proc/${kept.pid}/exe`)) await sleep(2);
    for (const path of [control, join(folder, `${id}.sock`)]) rmSync(path, { force: true });
  };
  const stop = async (): Promise<void> => {
    await end(kept.pid);
    network.release(id);
  };
  const kill = (): Promise<void> => end(kept.keeperPid, kept.pid);
  const made = Object.assign(new Agent(control), {
    ...{ id, pid: kept.pid, keeperPid: kept.keeperPid, attachment, stop, kill },
    ports: attachment.boundPorts(bound),
    [Symbol.asyncDispose]: stop,
  });
  return made.ready();
}
