/** What a container engine can leave behind, read from the kernel, as sets of lines that name it. */
import { execFile } from 'node:child_process';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** The directories of the engine under test. What can't be tied to them is looked at for the whole machine. */
export interface StateScope {
  readonly root: string;
  readonly run: string;
}

export interface MachineState {
  readonly mount: ReadonlySet<string>;
  readonly process: ReadonlySet<string>;
  readonly 'network namespace': ReadonlySet<string>;
  readonly link: ReadonlySet<string>;
  readonly address: ReadonlySet<string>;
  readonly 'nftables rule': ReadonlySet<string>;
  readonly cgroup: ReadonlySet<string>;
  readonly file: ReadonlySet<string>;
  readonly 'listening socket': ReadonlySet<string>;
}

export async function readMachineState(scope: StateScope): Promise<MachineState> {
  const processes = await readProcesses();
  const [mount, links, rules, cgroup, file, sockets] = await Promise.all([
    mounts(),
    linksAndAddresses(),
    nftables(),
    cgroups(),
    files(scope),
    listening(),
  ]);
  return {
    mount,
    process: ownProcesses(processes, scope),
    'network namespace': networkNamespaces(processes),
    link: links.links,
    address: links.addresses,
    'nftables rule': rules,
    cgroup,
    file,
    'listening socket': sockets,
  };
}

interface ProcessFacts {
  readonly pid: number;
  readonly start: string;
  readonly command: string;
  readonly cgroup: string;
  readonly environment: string;
  readonly executable: string;
  readonly network: string;
}

const read = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

async function readProcesses(): Promise<ProcessFacts[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const facts = await Promise.all(
    pids.map(async (pid): Promise<ProcessFacts | undefined> => {
      const at = `/proc/${pid}`;
      const status = await read(`${at}/stat`);
      const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
      // A zombie is its parent's to reap, and it holds nothing.
      if (status === '' || fields[0] === 'Z') return undefined;
      const [command, cgroup, environment, executable, network] = await Promise.all([
        read(`${at}/cmdline`),
        read(`${at}/cgroup`),
        read(`${at}/environ`),
        readlink(`${at}/exe`).catch(() => ''),
        readlink(`${at}/ns/net`).catch(() => ''),
      ]);
      return {
        pid,
        start: fields[19] ?? '',
        command: command.replaceAll('\0', ' ').trim(),
        cgroup,
        environment,
        executable,
        network,
      };
    }),
  );
  return facts.filter((fact) => fact !== undefined);
}

/** keel in any role, what names the engine's directories, and what runs in a container's cgroup; never this process. */
function ownProcesses(processes: readonly ProcessFacts[], scope: StateScope): Set<string> {
  const own = processes.filter(
    (candidate) =>
      candidate.pid !== process.pid &&
      (/\bkeel( \(deleted\))?$/.test(candidate.executable) ||
        candidate.command.includes(scope.run) ||
        candidate.command.includes(scope.root) ||
        candidate.environment.includes(`KEELSON_RUN=${scope.run}`) ||
        /\/keelson\/[0-9a-f]{64}/.test(candidate.cgroup)),
  );
  return new Set(own.map(({ pid, start, command, executable }) => `${pid} ${command || executable} (start ${start})`));
}

/** By the processes in them; a namespace that is kept by a mount is seen among the mounts. */
function networkNamespaces(processes: readonly ProcessFacts[]): Set<string> {
  return new Set(processes.map((candidate) => candidate.network).filter((name) => name !== ''));
}

async function mounts(): Promise<Set<string>> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).trim().split('\n');
  return new Set(
    lines.map((line) => {
      const fields = line.split(' ');
      const [type, source] = fields.slice(fields.indexOf('-') + 1);
      return `${fields[4]} (${type} ${source}, ${fields[3]})`;
    }),
  );
}

async function linksAndAddresses(): Promise<{ links: Set<string>; addresses: Set<string> }> {
  const { stdout } = await execute('ip', ['-json', 'address']);
  const links = new Set<string>();
  const addresses = new Set<string>();
  for (const link of JSON.parse(stdout) as { ifname?: string; addr_info?: { local: string; prefixlen: number }[] }[]) {
    if (link.ifname === undefined) continue;
    // The bridge and its own addresses are made once and stay.
    if (link.ifname === 'keelson0') continue;
    links.add(link.ifname);
    for (const { local, prefixlen } of link.addr_info ?? []) addresses.add(`${local}/${prefixlen} on ${link.ifname}`);
  }
  return { links, addresses };
}

/** Rules and elements of maps and sets, without counters and handles. Tables, chains, and the maps themselves stay. */
async function nftables(): Promise<Set<string>> {
  const { stdout } = await execute('nft', ['--json', 'list', 'ruleset'], { maxBuffer: 64 << 20 }).catch(() => ({
    stdout: '{}',
  }));
  const { nftables: objects = [] } = JSON.parse(stdout) as {
    nftables?: Record<
      string,
      { family?: string; table?: string; name?: string; chain?: string } & Record<string, unknown>
    >[];
  };
  const lines = new Set<string>();
  for (const object of objects) {
    for (const kind of ['set', 'map']) {
      const it = object[kind];
      if (!it || (it.table === 'keelson' && it.name === 'revision')) continue;
      for (const element of (it['elem'] as unknown[] | undefined) ?? []) {
        lines.add(`${it.family} ${it.table} ${kind} ${it.name}: ${JSON.stringify(element)}`);
      }
    }
    const rule = object['rule'];
    // The base rules of keelson's own table come with it, once.
    if (rule && rule['comment'] !== 'base' && rule.table !== 'keelson') {
      lines.add(
        `${rule.family} ${rule.table} ${rule.chain}: ${JSON.stringify(rule['expr']).replace(/"packets":\d+,"bytes":\d+/, '')}`,
      );
    }
  }
  return lines;
}

async function cgroups(): Promise<Set<string>> {
  const mountpoints = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(' ')[4] ?? '');
  const found = await Promise.all(
    mountpoints.map(async (mountpoint) => {
      const entries = await readdir(join(mountpoint, 'keelson'), { recursive: true, withFileTypes: true }).catch(
        () => [],
      );
      return entries.filter((entry) => entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
    }),
  );
  return new Set(found.flat());
}

/** Everything under run; under root what is not content: containers, temporary files, half-made things. */
async function files(scope: StateScope): Promise<Set<string>> {
  const list = async (path: string): Promise<string[]> => {
    const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => []);
    return entries.map((entry) => join(entry.parentPath, entry.name));
  };
  const [run, containers, root] = await Promise.all([
    list(scope.run),
    readdir(join(scope.root, 'containers')).catch(() => []),
    readdir(scope.root).catch(() => []),
  ]);
  // Made with the first container, and kept for the next ones.
  const kept = ['containers', 'exits', 'rootfs'].map((name) => join(scope.run, name));
  const cache = join(scope.run, 'seccomp');
  const found = new Set(run.filter((path) => !kept.includes(path) && path !== cache && !path.startsWith(`${cache}/`)));
  for (const name of containers) found.add(join(scope.root, 'containers', name));
  for (const name of ['trash', 'host', 'volumes']) {
    for (const entry of await readdir(join(scope.root, name)).catch(() => [])) found.add(join(scope.root, name, entry));
  }
  for (const name of root) {
    const path = join(scope.root, name);
    if (!(await stat(path).catch(() => undefined))?.isDirectory()) continue;
    for (const entry of await readdir(path).catch(() => [])) {
      if (name === 'tmp' || /^\.|\.(tmp|new|partial|part)\b|^tmp/.test(entry)) found.add(join(path, entry));
    }
  }
  return found;
}

async function listening(): Promise<Set<string>> {
  const found = new Set<string>();
  for (const protocol of ['tcp', 'tcp6', 'udp', 'udp6']) {
    const lines = (await read(`/proc/net/${protocol}`)).trim().split('\n').slice(1);
    for (const line of lines) {
      const [, local = '', remote = '', state] = line.trim().split(/\s+/);
      const bound = protocol.startsWith('tcp') ? state === '0A' : remote.endsWith(':0000');
      if (bound)
        found.add(`${protocol} port ${Number.parseInt(local.split(':')[1] ?? '', 16)} on ${local.split(':')[0]}`);
    }
  }
  return found;
}
