/** What a peer is asked to do with each runtime, and what is written down of it. */
import { line, run, type Result } from './process.ts';
import { image, type Runtime } from './world.ts';

/** Notes what was seen for the task `name`; `expected` is what a runtime ought to give. */
export type Check = (name: string, expected: RegExp, seen: string) => void;

export interface Scenario<Engine> {
  readonly name: string;
  play(engine: Engine, check: Check): Promise<void>;
}

/** docker or podman: the same words for most of what they do. */
export class Engine {
  readonly peer: 'docker' | 'podman';
  readonly runtime: Runtime;
  readonly prefix: readonly string[];
  #names = 0;

  constructor(peer: 'docker' | 'podman', runtime: Runtime, prefix: readonly string[] = []) {
    this.peer = peer;
    this.runtime = runtime;
    this.prefix = prefix;
  }

  cli(args: readonly string[], options: { input?: string; seconds?: number } = {}): Promise<Result> {
    const runtime = this.peer === 'podman' ? ['--runtime', this.runtime] : [];
    return run([...this.prefix, this.peer, ...runtime, ...args], options);
  }

  async line(...args: string[]): Promise<string> {
    return line(await this.cli(args));
  }

  #creation(verb: 'run' | 'create', flags: readonly string[], command: readonly string[]): string[] {
    return [verb, ...(this.peer === 'docker' ? ['--runtime', this.runtime] : []), ...flags, image, ...command];
  }

  /** A container that is gone afterwards. */
  run(flags: readonly string[], command: readonly string[], input?: string): Promise<Result> {
    const network = flags.some((flag) => flag.startsWith('--net')) ? [] : ['--network=none'];
    return this.cli(
      this.#creation('run', ['--rm', ...network, ...flags], command),
      input === undefined ? {} : { input },
    );
  }

  async sh(flags: readonly string[], script: string, input?: string): Promise<string> {
    return line(await this.run(flags, ['sh', '-c', script], input));
  }

  name(what: string): string {
    return `${what}-${this.runtime}-${++this.#names}`;
  }

  /** Starts a container in the background; resolves with its name. Throws what the peer says otherwise. */
  async start(flags: readonly string[], command: readonly string[]): Promise<string> {
    const name = this.name('c');
    const network = flags.some((flag) => /^--(net|pod)/.test(flag)) ? [] : ['--network=none'];
    const { code, stderr } = await this.cli(
      this.#creation('run', ['-d', '--name', name, ...network, ...flags], command),
    );
    if (code !== 0) throw new Error(`starting a container: ${stderr.trim()}`);
    return name;
  }

  async inspect(name: string, format: string): Promise<string> {
    const { stdout, stderr } = await this.cli(['inspect', '--type=container', '-f', format, name]);
    return (stdout.trim() || stderr.trim()).replaceAll(/\s+/g, ' ');
  }

  async remove(...names: string[]): Promise<void> {
    await this.cli(['rm', '-f', '-v', ...(this.peer === 'podman' ? ['-t', '0'] : []), ...names]);
  }
}
