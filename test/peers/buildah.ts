/** buildah, and podman's build, which is the same code: steps of a build run in containers of the runtime. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { line, run } from './process.ts';
import type { Scenario } from './scenario.ts';
import { image, type Runtime, runtimePath } from './world.ts';

/** The limits that it sets by itself may be above those of the machine. */
const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'];

export const buildah: Scenario<Runtime> = {
  name: 'buildah',
  async play(runtime, check) {
    const name = `build-${runtime}`;
    const path = runtimePath(runtime);
    await run(['buildah', 'from', '--name', name, ...limits, image]);
    const sh = async (flags: readonly string[], script: string): Promise<string> =>
      without(line(await run(['buildah', 'run', '--runtime', path, ...flags, name, '--', 'sh', '-c', script])));
    const begin = Date.now();
    check('run: output and exit code', /^7: out err( |$)/, await sh([], 'echo out; echo err >&2; exit 7'));
    check(
      "run: it doesn't wait for what the runtime left",
      /^soon$/,
      Date.now() - begin < 9000 ? 'soon' : `${Date.now() - begin} ms`,
    );
    // One container for all of these: each takes a second.
    const flags = [
      '--user',
      'user',
      '--workingdir',
      '/home',
      '--env',
      'A=b',
      '-v',
      '/tmp/shared:/mnt:ro',
      '--network',
      'none',
    ];
    const script = 'id -u; pwd; echo $A; cat /mnt/file; ls /sys/class/net; grep CapBnd /proc/self/status';
    const seen = (await sh([...flags, '--cap-drop', 'ALL'], script)).replace(/^0: /, '').split(' ');
    const names = ['user', 'directory', 'environment', 'volume', 'no network'];
    for (const [at, expected] of [/^1000$/, /^\/home$/, /^b$/, /^text$/, /^lo$/].entries())
      check(`run: ${names[at]}`, expected, seen[at] ?? seen.join(' '));
    check('run: fewer capabilities', /^CapBnd: 0000000000000000$/, seen.slice(5).join(' '));
    check('run: terminal', /^0: \/dev\/(pts\/0|console)$/, await sh(['--terminal'], 'tty'));
    check("run: the host's network", /\bout0\b/, await sh(['--network', 'host'], 'ls /sys/class/net'));
    check(
      'errors: no such executable',
      /^(1|127): .*(not found|no such file)/i,
      line(await run(['buildah', 'run', '--runtime', path, name, '--', '/no/such'])),
    );
    await run(['buildah', 'rm', name]);
    await build(runtime, check, 'bud', ['buildah', 'bud', '--runtime', path, '--isolation', 'oci']);
    await build(runtime, check, 'podman build', ['podman', '--runtime', runtime, 'build', '--isolation', 'oci']);
  },
};

async function build(
  runtime: Runtime,
  check: (name: string, expected: RegExp, seen: string) => void,
  what: string,
  words: readonly string[],
): Promise<void> {
  const directory = `/tmp/build-${runtime}`;
  mkdirSync(directory, { recursive: true });
  writeFileSync(`${directory}/input`, 'given\n');
  const steps = ['COPY input /input', 'RUN cat /input && echo made > /made', 'USER user', 'RUN echo I am $(id -un)'];
  writeFileSync(`${directory}/Dockerfile`, [`FROM ${image}`, ...steps, ''].join('\n'));
  writeFileSync(`${directory}/Failing`, `FROM ${image}\nRUN exit 5\n`);
  const common = [...words, ...limits, '--network', 'none', '--pull=never', '--no-cache', '-t', `built-${runtime}`];
  check(`${what}: RUN`, /^0: .*given .*I am user/, without(line(await run([...common, directory]))));
  const failing = await run([...common, '-f', `${directory}/Failing`, directory]);
  check(`${what}: a RUN that fails`, /^(5|125|1): .*exit status 5/, without(line(failing)));
}

/** Debian 12's asks for ambient capabilities that aren't inheritable; runc 1.3 and keelson-oci say so, runc 1.1 and crun don't. */
function without(text: string): string {
  return text.replaceAll(/ ?time="[^"]*" level=warning msg="can't raise ambient capability [^"]*"/g, '');
}
