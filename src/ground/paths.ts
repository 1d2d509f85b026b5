import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where everything lives on disk. `root` survives a reboot, `run` does not. */
export interface Paths {
  readonly root: string;
  readonly run: string;
}

/** DESIGN.md section 4: options first, then KEELSON_ROOT and KEELSON_RUN, then the place for this user. */
export function defaultPaths(options: { root?: string; run?: string } = {}): Paths {
  const env = process.env;
  const rootful = process.geteuid?.() === 0;
  const uid = process.getuid?.() ?? 0;
  return {
    root:
      options.root ??
      env['KEELSON_ROOT'] ??
      (rootful ? '/var/lib/keelson' : join(env['XDG_DATA_HOME'] ?? join(homedir(), '.local/share'), 'keelson')),
    run:
      options.run ??
      env['KEELSON_RUN'] ??
      (rootful ? '/run/keelson' : join(env['XDG_RUNTIME_DIR'] ?? `/tmp/keelson-run-${uid}`, 'keelson')),
  };
}
