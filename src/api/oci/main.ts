/** The planner: serves the fronts of one user on the socket it was given as descriptor 3, and leaves when nobody has called for a while. */
import { unlinkSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { Call } from './call.ts';
import { dispatch } from './dispatch.ts';
import { leaveCgroups } from './own-cgroup.ts';
import { isAwaited, isStray } from './adopted.ts';
import { warmUp } from './warm-up.ts';

const idleMs = 60_000;
const strayIdleMs = 1000;
const lookMs = 100;
const aliveMs = 3000;
const socketPath = process.argv[2];

let calls = 0;
let warm = false;
let nameless = false;
let idle = setTimeout(leave, idleMs);

const server = createServer({ allowHalfOpen: false }, (socket: Socket) => {
  calls++;
  clearTimeout(idle);
  const call = new Call(socket);
  const pulse = setInterval(() => call.alive(), aliveMs);
  const done = (command?: string): void => {
    clearInterval(pulse);
    calls--;
    if (calls > 0) return;
    const stray = isStray();
    if (stray && command === 'delete') return leave();
    idle = setTimeout(leave, stray ? strayIdleMs : idleMs);
    if (!warm && !stray) setTimeout(warmWhileIdle, 20);
  };
  dispatch(call).then(done, () => done());
});
server.on('error', () => process.exit(1));
server.listen({ fd: 3 });
leaveCgroups();

const look = setInterval(() => {
  if (process.ppid === 1) clearInterval(look);
  else if (calls === 0 && isAwaited()) leave();
}, lookMs);

function warmWhileIdle(): void {
  if (warm || calls > 0) return;
  warm = true;
  // What can't be planned here fails when it is asked for. What was left over by starting and planning is not kept for a minute.
  warmUp(() => calls === 0).then(
    (done) => {
      warm = done;
      if (done) globalThis.gc?.();
    },
    () => {},
  );
}

/** The name goes first, once: the next planner takes the same. Who is in the queue by then is still served. */
function leave(): void {
  clearTimeout(idle);
  clearInterval(look);
  try {
    if (socketPath !== undefined && !nameless) unlinkSync(socketPath);
  } catch {
    // removed by someone else
  }
  nameless = true;
  setTimeout(() => {
    if (calls === 0) process.exit(0);
    idle = setTimeout(leave, 1000);
  }, 100);
}
