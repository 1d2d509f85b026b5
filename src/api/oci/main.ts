/** The planner: serves the fronts of one user on the socket it was given as descriptor 3, and leaves when nobody has called for a while. */
import { unlinkSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { Call } from './call.ts';
import { dispatch } from './dispatch.ts';
import { leaveCgroups } from './own-cgroup.ts';
import { isStray } from './stray.ts';
import { warmUp } from './warm-up.ts';

const idleMs = 60_000;
const strayIdleMs = 1000;
const aliveMs = 3000;
const socketPath = process.argv[2];

let calls = 0;
let warm = false;
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

function warmWhileIdle(): void {
  if (warm || calls > 0) return;
  warm = true;
  warmUp(() => calls === 0).catch(() => {}); // what can't be planned here fails when it is asked for
}

/** The name goes first; who is in the queue by then is still served. */
function leave(): void {
  try {
    if (socketPath !== undefined) unlinkSync(socketPath);
  } catch {
    // removed by someone else
  }
  setTimeout(() => {
    if (calls === 0) process.exit(0);
    idle = setTimeout(leave, 1000);
  }, 100);
}
