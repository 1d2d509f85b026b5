import { existsSync, readFileSync } from 'node:fs';
import { arch, cpus, hostname, release, totalmem } from 'node:os';
import { toJson } from '../../api/docker/json.ts';
import { KeelsonError, messageOf } from '../../ground/errors.ts';
import { hostFacts } from '../../kernel/facts.ts';
import type { Cli } from '../cli.ts';
import { type Command, command as define, noArgs } from '../command.ts';
import { string } from '../flags.ts';
import { documentFormatHelp } from '../output/list-view.ts';
import { binarySize } from '../output/units.ts';
import { renderTemplate } from '../template/template.ts';
import { keelsonVersion } from '../versions.ts';

/** PRETTY_NAME of os-release(5). */
function operatingSystem(): string {
  const file = ['/etc/os-release', '/usr/lib/os-release'].find((path) => existsSync(path));
  const line = file && /^PRETTY_NAME=(.*)$/m.exec(readFileSync(file, 'utf8'))?.[1];
  return line?.replace(/^(["'])(.*)\1$/, '$2') ?? 'Linux';
}

async function infoDocument(cli: Cli): Promise<Record<string, unknown>> {
  const engine = await cli.engine();
  const containers = await engine.list(cli.context, { all: true });
  const count = (...states: string[]): number => containers.filter(({ state }) => states.includes(state.state)).length;
  const running = count('running', 'restarting');
  const paused = count('paused');
  const facts = hostFacts();
  return {
    Containers: containers.length,
    ContainersRunning: running,
    ContainersPaused: paused,
    ContainersStopped: containers.length - running - paused,
    Images: engine.images.list().length,
    Driver: 'overlayfs',
    LoggingDriver: 'json-file',
    CgroupDriver: 'cgroupfs',
    CgroupVersion: facts.cgroup.mode === 'unified' ? '2' : '1',
    KernelVersion: release(),
    OperatingSystem: operatingSystem(),
    OSType: 'linux',
    Architecture: { x64: 'x86_64', arm64: 'aarch64' }[arch() as 'x64'] ?? arch(),
    NCPU: cpus().length,
    MemTotal: totalmem(),
    Name: hostname(),
    DockerRootDir: cli.paths.root,
    RunDir: cli.paths.run,
    ServerVersion: keelsonVersion(),
    Rootless: process.geteuid?.() !== 0,
  };
}

const lines: readonly (readonly [title: string, field: string])[] = [
  ['Containers', 'Containers'],
  [' Running', 'ContainersRunning'],
  [' Paused', 'ContainersPaused'],
  [' Stopped', 'ContainersStopped'],
  ['Images', 'Images'],
  ['Version', 'ServerVersion'],
  ['Storage Driver', 'Driver'],
  ['Logging Driver', 'LoggingDriver'],
  ['Cgroup Driver', 'CgroupDriver'],
  ['Cgroup Version', 'CgroupVersion'],
  ['Kernel Version', 'KernelVersion'],
  ['Operating System', 'OperatingSystem'],
  ['OSType', 'OSType'],
  ['Architecture', 'Architecture'],
  ['CPUs', 'NCPU'],
  ['Total Memory', 'MemTotal'],
  ['Name', 'Name'],
  ['Root Dir', 'DockerRootDir'],
  ['Run Dir', 'RunDir'],
  ['Rootless', 'Rootless'],
];

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'Display system-wide information',
  aliases: ['system info', 'info'],
  arity: noArgs,
  flags: { format: string(documentFormatHelp, { short: 'f' }) },
  run: async ({ cli, flags }) => {
    const document = await infoDocument(cli);
    if (flags.format === 'json') {
      cli.stdout.line(toJson(document));
      return 0;
    }
    if (flags.format !== '') {
      try {
        cli.stdout.line(renderTemplate(flags.format, document));
      } catch (error) {
        throw new KeelsonError('invalid-argument', `template parsing error: ${messageOf(error)}`, { cause: error });
      }
      return 0;
    }
    const shown = { ...document, MemTotal: binarySize(totalmem()) } as Record<string, unknown>;
    cli.stdout.write(lines.map(([title, field]) => `${title}: ${shown[field] as string}\n`).join(''));
    return 0;
  },
});
