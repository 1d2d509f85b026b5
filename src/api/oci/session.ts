/** What a command works with: the caller, its global flags, the containers below its root. */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fromSystemError, isKeelsonError, KeelsonError, messageOf } from '../../ground/errors.ts';
import { hostFacts, type HostFacts } from '../../kernel/facts.ts';
import { parseCapabilityMask } from '../../kernel/capabilities.ts';
import { startError } from '../../runtime/start-error.ts';
import type { CgroupManager, Host } from '../../runtime/lifecycle/host.ts';
import { rootlessOf, withCallersGroups } from '../../runtime/lifecycle/rootless.ts';
import { StateStore } from '../../runtime/lifecycle/state-store.ts';
import type { Call, Caller } from './call.ts';
import type { Flags, Parsed } from './flags.ts';

export const globalFlags: Flags = {
  root: { kind: 'text' },
  log: { kind: 'text' },
  'log-format': { kind: 'text' },
  debug: { kind: 'bool' },
  'systemd-cgroup': { kind: 'bool' },
  rootless: { kind: 'text' },
  criu: { kind: 'text' },
  'cgroup-manager': { kind: 'text' },
  version: { kind: 'bool', short: ['v'] },
  help: { kind: 'bool', short: ['h'] },
};

export interface Session {
  readonly call: Call;
  readonly caller: Caller;
  readonly globals: Parsed;
  readonly host: Host;
  /** A path as the caller means it. */
  readonly path: (path: string) => string;
  readonly log: (level: 'error' | 'warning' | 'debug', message: string) => void;
}

export interface Command {
  readonly flags: Flags;
  /** Words after the container's name belong to someone else. */
  readonly first?: boolean;
  /** Flags are not looked at. */
  readonly anyFlags?: boolean;
  run(session: Session, args: Parsed): Promise<number>;
}

let known: { at: number; facts: HostFacts } | undefined;

/** Facts of the machine, looked up anew from time to time: hierarchies get mounted. */
function facts(caller: Caller): HostFacts {
  const now = performance.now();
  if (!known || now - known.at > 5000) known = { at: now, facts: hostFacts() };
  const effective = parseCapabilityMask(caller.capabilities.toString(16));
  const own = { ...known.facts, capabilities: { ...known.facts.capabilities, effective } };
  return own.euid !== 0 || own.inUserNamespace ? withCallersGroups(own, caller.pid) : own;
}

/**
 * An ordinary user's lies in XDG_RUNTIME_DIR; so does that of root in a user namespace, unless USER says that this is a root like any other
 * (a system container's). The sticky bit keeps it from being cleared away (XDG base directory specification).
 */
export function defaultRoot(
  caller: Caller,
  machine: Pick<HostFacts, 'inUserNamespace'>,
): { path: string; mode: number } {
  const runtime = caller.env['XDG_RUNTIME_DIR'];
  const ordinary = caller.uid !== 0 || (machine.inUserNamespace && caller.env['USER'] !== 'root');
  if (!ordinary || (caller.uid === 0 && !runtime)) return { path: '/run/keelson-oci', mode: 0o700 };
  return { path: join(runtime || `/run/user/${caller.uid}`, 'keelson-oci'), mode: 0o1700 };
}

export function openSession(call: Call, caller: Caller, globals: Parsed): Session {
  const path = (given: string): string => resolve(caller.cwd, given);
  const file = logFile(globals, path);
  const log: Session['log'] = (level, message) => {
    if (level === 'debug' && !globals.bool('debug')) return;
    const line = logLine(globals.text('log-format') === 'json', level, message);
    if (file === undefined) {
      call.stderr(line);
      return;
    }
    try {
      append(file, line);
    } catch {
      call.stderr(line);
    }
    if (level === 'error') call.stderr(`${message}\n`);
  };
  const machine = facts(caller);
  const given = globals.text('root');
  const root = given ? { path: path(given), mode: 0o700 } : defaultRoot(caller, machine);
  const host: Host = {
    runner: call,
    store: new StateStore(root.path, root.mode),
    facts: machine,
    rootless: rootlessOf(machine, globals.text('rootless')),
    cgroupManager: cgroupManager(globals),
    warn: (message) => log('warning', message),
    debug: (message) => log('debug', message),
    caller: caller.pid,
    channel: caller.channel,
    environment: caller.env,
  };
  return { call, caller, globals, host, path, log };
}

/** Where messages go; refused at once when they can't. As crun's, the path may be preceded by `file:`. */
function logFile(globals: Parsed, path: (given: string) => string): string | undefined {
  const format = globals.text('log-format') || 'text';
  if (format !== 'text' && format !== 'json')
    throw new KeelsonError('invalid-argument', `invalid log-format: ${format}`);
  const given = globals.text('log');
  if (!given) return undefined;
  if (/^(syslog|journald):/.test(given)) throw new KeelsonError('unsupported', `unknown log type ${given}`);
  const file = path(given.replace(/^file:/, ''));
  try {
    append(file, '');
  } catch (error) {
    // A FIFO may find its reader later.
    if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw fromSystemError(error, `opening the log file ${file}`);
  }
  return file;
}

/** runc's flag, or crun's. */
function cgroupManager(globals: Parsed): CgroupManager {
  const named = globals.text('cgroup-manager') ?? (globals.bool('systemd-cgroup') ? 'systemd' : 'cgroupfs');
  if (named !== 'systemd' && named !== 'cgroupfs' && named !== 'disabled')
    throw new KeelsonError('invalid-argument', `invalid cgroup manager: ${named}`);
  return named;
}

/** Without waiting for anybody: a FIFO that nobody reads can't be opened. */
function append(path: string, text: string): void {
  const { O_APPEND, O_CREAT, O_NOCTTY, O_NONBLOCK, O_WRONLY } = constants;
  const fd = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o644);
  try {
    writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

/** Lines as logrus writes them, which callers parse. */
export function logLine(json: boolean, level: string, message: string): string {
  const time = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
  return json
    ? `${JSON.stringify({ level, msg: message, time })}\n`
    : `time="${time}" level=${level} msg=${/^[\w./@^+-]+$/.test(message) ? message : JSON.stringify(message)}\n`;
}

/** An error in the words that callers of runc look for. */
export function errorText(error: unknown): string {
  const mapped = startError(error);
  if (!isKeelsonError(mapped)) return messageOf(mapped);
  if (mapped.details.errno === 'ELOOP' && /^mounting (proc|sysfs) /.test(mapped.message))
    return `${mapped.message}: it must be mounted on ordinary directory`;
  if (/^(making|opening) the cgroup|^error adding pid|^joining \/|^writing .* to \/.*\/cgroup/.test(mapped.message))
    return `unable to apply cgroup configuration: ${mapped.message.replace(/(cgroup\.procs: )(?:openat|write|clone3?): /, '$1').replace(/E[A-Z]+ \(([^)]*)\)$/, (_, words: string) => words.toLowerCase())}`;
  // An operation that a plan gives up at says all in what it was doing.
  const text =
    mapped.details.syscall === 'fail' ? mapped.message.replace(/: fail: E[A-Z0-9]+ \([^)]*\)$/, '') : mapped.message;
  return text.startsWith('exec: "') ? `unable to start container process: ${text}` : text;
}

/** What runc's init prints by itself when execve(2) has failed. */
export function execLine(error: unknown): string | undefined {
  if (!isKeelsonError(error) || error.details.syscall !== 'execve') return undefined;
  const match = /^exec: "(.*?)": (.*)$/s.exec(messageOf(startError(error)));
  return match ? `exec ${match[1]}: ${match[2]}` : undefined;
}
