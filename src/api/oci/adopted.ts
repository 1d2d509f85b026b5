/**
 * Whoever starts the planner is gone at once, and the nearest subreaper (prctl(2)) adopts it: containerd's shim, conmon, buildah. The first lets
 * it be; the others wait for their children to end, so that it has to.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';

/**
 * Whether a thread of the adopter lives in another mount namespace: then this one is a thread's of its own, made for one container, and nobody
 * calls from it once that is gone. buildah is like that, and looks for adopted children for 20 s.
 */
export function isStray(): boolean {
  try {
    const own = statSync('/proc/self/ns/mnt').ino;
    const tasks = `/proc/${process.ppid}/task`;
    return readdirSync(tasks).some((task) => statSync(`${tasks}/${task}/ns/mnt`).ino !== own);
  } catch {
    return false; // gone, or not ours to look at
  }
}

/**
 * Whether the adopter sits in wait4(2). conmon does that when its container has ended, until the last child has, while podman waits for it
 * or lets it linger. The next planner is then started below no conmon. Process 1 may wait as it likes: it doesn't end.
 */
export function isAwaited(): boolean {
  const { ppid } = process;
  if (ppid === 1) return false;
  try {
    return readFileSync(`/proc/${ppid}/wchan`, 'utf8') === 'do_wait';
  } catch {
    return false; // gone
  }
}
