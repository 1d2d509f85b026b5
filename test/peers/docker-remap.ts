/** A docker daemon that puts every container into a user namespace (--userns-remap). */
import { line } from './process.ts';
import type { Engine, Scenario } from './scenario.ts';

export const dockerRemap: Scenario<Engine> = {
  name: 'remap',
  async play(engine, check) {
    check('user namespace: of the daemon', /^0: 0 2147483647 1048576$/, await engine.sh([], 'cat /proc/self/uid_map'));
    check(
      "user namespace: the machine's own",
      /^0: 0 0 4294967295$/,
      await engine.sh(['--userns=host'], 'cat /proc/self/uid_map'),
    );
    const files =
      'stat -c %u:%g /etc/plain; touch /new && stat -c %u /new; mount -t tmpfs none /tmp 2>/dev/null || echo refused';
    check('user namespace: what its root may', /^0: 0:0 0 refused$/, await engine.sh([], files));
    const name = await engine.start([], ['sh', '-c', 'while :; do sleep 0.1; done']);
    const exec = line(await engine.cli(['exec', '-t', name, 'sh', '-c', 'id -u; tty; exit 4']));
    check('user namespace: exec with a terminal', /^4: 0 \/dev\/pts\/\d$/, exec);
    const stop = await engine.cli(['stop', '-t', '0', name]);
    check(
      'user namespace: stop',
      /^0 exited 137$/,
      `${stop.code} ${await engine.inspect(name, '{{.State.Status}} {{.State.ExitCode}}')}`,
    );
    await engine.remove(name);
  },
};
