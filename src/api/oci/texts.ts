/** What the command line says about itself, in the layout of runc's: its lines are read by scripts. */
import { basename } from 'node:path';
import type { Flags } from './flags.ts';
import { commit, release } from './version.ts';

export const specVersion = '1.3.0';

interface About {
  readonly summary: string;
  /** What follows the flags. */
  readonly usage: string;
  /** How many words that may be. */
  readonly least: number;
  readonly most?: number;
}

const id = '<container-id>';
const one = { least: 1, most: 1 } as const;

const about: Readonly<Record<string, About>> = {
  checkpoint: { summary: 'checkpoint a running container', usage: id, ...one },
  create: { summary: 'create a container', usage: id, ...one },
  delete: { summary: 'delete any resources held by the container', usage: id, ...one },
  events: {
    summary: 'display container events such as OOM notifications, cpu, memory, and IO usage',
    usage: id,
    ...one,
  },
  exec: { summary: 'execute new process inside the container', usage: `${id} <command> [arguments]`, least: 1 },
  features: { summary: 'show the enabled features', usage: '', least: 0, most: 0 },
  kill: {
    summary: "send a signal (default: SIGTERM) to the container's init process",
    usage: `${id} [signal]`,
    least: 1,
    most: 2,
  },
  list: { summary: 'list the containers below the given root', usage: '', least: 0, most: 0 },
  mounts: {
    summary: 'change the mounts of a running container',
    usage: `[add|remove] ${id} <file>`,
    least: 3,
    most: 3,
  },
  pause: { summary: 'suspend all processes inside the container', usage: id, ...one },
  ps: { summary: 'display the processes running inside a container', usage: `${id} [ps options]`, least: 1 },
  restore: { summary: 'restore a container from a previous checkpoint', usage: id, ...one },
  resume: { summary: 'resume all processes that have been previously paused', usage: id, ...one },
  run: { summary: 'create and run a container', usage: id, ...one },
  spec: { summary: 'create a new specification file', usage: '', least: 0, most: 0 },
  start: { summary: 'execute the user defined process in a created container', usage: id, ...one },
  state: { summary: 'output the state of a container', usage: id, ...one },
  update: { summary: 'update container resource constraints', usage: id, ...one },
};

/** What it was called by. */
export function programName(argv: readonly string[]): string {
  return basename(argv[0] ?? '') || 'keelson-oci';
}

/** In crun's words, which its callers look for. */
const builtIn = '+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF +CRIU';

export function versionText(program: string): string {
  return `${program} version ${release}\ncommit: ${commit()}\nspec: ${specVersion}\n${builtIn}\n`;
}

/** What is wrong with the number of words that a command was given. */
export function wordCountError(program: string, command: string, count: number): string | undefined {
  const { least = 0, most } = about[command] ?? {};
  const exactly = least === most ? 'exactly ' : undefined;
  if (count < least) return `${program}: "${command}" requires ${exactly ?? 'a minimum of '}${least} argument(s)`;
  if (most !== undefined && count > most)
    return `${program}: "${command}" requires ${exactly ?? 'a maximum of '}${most} argument(s)`;
  return undefined;
}

export function helpText(program: string, commands: readonly string[], flags: Flags): string {
  const width = Math.max(...commands.map((name) => name.length));
  return section({
    NAME: [`${program} - in the place of runc - Open Container Initiative runtime`],
    USAGE: [`${program} [global options] command [command options] [arguments...]`],
    VERSION: [release],
    COMMANDS: commands.map((name) => `${name.padEnd(width)}  ${about[name]?.summary ?? ''}`),
    'GLOBAL OPTIONS': optionLines(flags),
  });
}

export function commandHelp(program: string, name: string, flags: Flags): string {
  const { summary = '', usage = '' } = about[name] ?? {};
  return section({
    NAME: [`${program} ${name} - as runc ${name}: ${summary}`],
    USAGE: [`${program} ${name} [command options] ${usage}`.trimEnd()],
    OPTIONS: optionLines(flags),
  });
}

function optionLines(flags: Flags): string[] {
  return Object.entries(flags).map(([name, { kind, short = [] }]) => {
    const value = kind === 'bool' ? '' : ' value';
    return [`--${name}${value}`, ...short.map((other) => `-${other}${value}`)].join(', ');
  });
}

function section(parts: Readonly<Record<string, readonly string[]>>): string {
  return Object.entries(parts)
    .map(([title, lines]) => `${title}:\n${lines.map((line) => `   ${line}\n`).join('')}`)
    .join('\n');
}
