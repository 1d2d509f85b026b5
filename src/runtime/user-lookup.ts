import { KeelsonError } from '../ground/errors.ts';

/** Who the process is, as numbers. */
export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  /** Home directory from passwd; `/` where it has none. */
  readonly home: string;
}

/** At most this much of passwd and group is read (docker reads all: a giant group file was a denial of service, 2026-47262). */
export const maxAccountFile: number = 1 << 20;

interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

/**
 * Docker's rules for `user[:group]` by name or number, on the text of the container's own /etc/passwd and /etc/group:
 * a numeric user need not exist (its group is then 0), a name must; with a group given explicitly, the user's
 * supplementary groups are not looked up. `groupAdd` is appended.
 */
export function lookupUser(user: string, groupAdd: readonly string[], passwd: string, group: string): ResolvedUser {
  const [name, groupName] = splitUser(user);
  const entries = passwdEntries(passwd);
  const number = idOf(name);
  const found =
    name === ''
      ? entries.find((e) => e.uid === 0)
      : (entries.find((e) => e.name === name && number === undefined) ?? entries.find((e) => e.uid === number));
  if (!found && name !== '' && number === undefined) {
    throw new KeelsonError('not-found', `unable to find user ${name}: no matching entries in passwd file`);
  }
  const uid = found?.uid ?? number ?? 0;
  let gid = found?.gid ?? 0;
  const additional = new Set<number>();
  if (groupName !== '') gid = groupId(groupName, group);
  else if (found) for (const id of memberships(found.name, group)) additional.add(id);
  for (const extra of groupAdd) additional.add(groupId(extra, group));
  return { uid, gid, additionalGids: [...additional], home: found?.home || '/' };
}

/** The home directory of a user who is known by number, of any that the kernel takes; `/` for one that isn't in `passwd`. */
export function homeOf(uid: number, passwd: string): string {
  return passwdEntries(passwd).find((entry) => entry.uid === uid)?.home || '/';
}

function splitUser(user: string): [string, string] {
  const colon = user.indexOf(':');
  return colon < 0 ? [user, ''] : [user.slice(0, colon), user.slice(colon + 1)];
}

/** A decimal ID, checked for range (CVE-2024-40635: 4294967296 wrapped to root); undefined for a name. */
function idOf(text: string): number | undefined {
  if (!/^[0-9]+$/.test(text)) return undefined;
  const id = Number(text);
  if (id > 0x7fffffff)
    throw new KeelsonError('invalid-argument', `uids and gids must be in range 0-2147483647: ${text}`);
  return id;
}

function passwdEntries(text: string): PasswdEntry[] {
  return lines(text).flatMap((line) => {
    const [name, , uid, gid, , home] = line.split(':');
    if (!name || !uid || !/^[0-9]+$/.test(uid)) return [];
    return [{ name, uid: Number(uid), gid: /^[0-9]+$/.test(gid ?? '') ? Number(gid) : 0, home: home ?? '' }];
  });
}

function groupEntries(text: string): { name: string; gid: number; members: string[] }[] {
  return lines(text).flatMap((line) => {
    const [name, , gid, members] = line.split(':');
    if (!name || !gid || !/^[0-9]+$/.test(gid)) return [];
    return [{ name, gid: Number(gid), members: (members ?? '').split(',').filter((m) => m !== '') }];
  });
}

function groupId(name: string, text: string): number {
  const number = idOf(name);
  if (number !== undefined) return number;
  const found = groupEntries(text).find((g) => g.name === name);
  if (!found) {
    throw new KeelsonError('not-found', `unable to find group ${name}: no matching entries in group file`);
  }
  return found.gid;
}

function memberships(name: string, text: string): number[] {
  return groupEntries(text)
    .filter((g) => g.members.includes(name))
    .map((g) => g.gid);
}

function lines(text: string): string[] {
  return text
    .slice(0, maxAccountFile)
    .split('\n')
    .filter((l) => l !== '' && !l.startsWith('#'));
}
