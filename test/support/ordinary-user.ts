/** An ordinary user that a test makes for itself, with subordinate IDs if it wants them, and takes away again. */
import { execFileSync, spawn } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const subordinate = { first: 700_000, count: 65_536 };

export class OrdinaryUser implements Disposable {
  readonly uid: number;
  readonly name: string;
  /** A directory of its own, with `runtime` for XDG_RUNTIME_DIR in it. */
  readonly home: string;
  readonly #files = ['/etc/subuid', '/etc/subgid', '/etc/passwd', '/etc/group'];

  constructor(options: { subordinateIds: boolean }) {
    this.uid = 24_000 + (process.pid % 1000);
    this.name = `keelson-test-${this.uid}`;
    this.home = mkdtempSync(join(tmpdir(), 'k-'));
    chmodSync(this.home, 0o755);
    for (const path of [this.home, join(this.home, 'runtime')]) {
      mkdirSync(path, { recursive: true, mode: 0o755 });
      chownSync(path, this.uid, this.uid);
    }
    chmodSync(join(this.home, 'runtime'), 0o700);
    appendFileSync('/etc/passwd', `${this.name}:x:${this.uid}:${this.uid}::${this.home}:/bin/sh\n`);
    appendFileSync('/etc/group', `${this.name}:x:${this.uid}:\n`);
    if (!options.subordinateIds) return;
    for (const file of ['/etc/subuid', '/etc/subgid'])
      appendFileSync(file, `${this.name}:${subordinate.first}:${subordinate.count}\n`);
  }

  /** Maps of a user namespace with itself as root, and its subordinate IDs after that. */
  get maps(): { containerID: number; hostID: number; size: number }[] {
    return [
      { containerID: 0, hostID: this.uid, size: 1 },
      { containerID: 1, hostID: subordinate.first, size: subordinate.count },
    ];
  }

  run(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
    const words = ['--reuid', String(this.uid), '--regid', String(this.uid), '--clear-groups', ...command];
    const own = {
      HOME: this.home,
      USER: this.name,
      XDG_RUNTIME_DIR: join(this.home, 'runtime'),
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    };
    const child = spawn('setpriv', words, {
      env: { ...own, ...env },
      cwd: this.home,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text;
      });
    }
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      // Not 'close': a detached process keeps the pipes.
      child.once('exit', (code) =>
        setTimeout(() => {
          for (const name of ['stdout', 'stderr'] as const) child[name].destroy();
          resolve({ code: code ?? 128, ...output });
        }, 30),
      );
    });
  }

  /** Copies a directory to its home, as its own. */
  own(directory: string, name: string): string {
    const path = join(this.home, name);
    execFileSync('cp', ['-a', directory, path]);
    execFileSync('chown', ['-R', '-h', `${this.uid}:${this.uid}`, path]);
    return path;
  }

  [Symbol.dispose](): void {
    for (const file of this.#files) {
      if (!existsSync(file)) continue;
      const kept = readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => !line.startsWith(`${this.name}:`));
      writeFileSync(file, kept.join('\n'));
    }
    rmSync(this.home, { recursive: true, force: true });
  }
}
