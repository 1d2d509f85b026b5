import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { joinRdtGroup, rdtGroup } from './intel-rdt.ts';

test('a class of the container’s own goes with it, a named one stays, / is everybody’s', () => {
  const own = rdtGroup('/sys/fs/resctrl', 'c1', {
    l3CacheSchema: 'L3:0=f',
    memBwSchema: 'MB:0=20',
    enableMonitoring: true,
  });
  assert.deepEqual(own, {
    directory: '/sys/fs/resctrl/c1',
    schemata: ['L3:0=f', 'MB:0=20'],
    monitor: '/sys/fs/resctrl/c1/mon_groups/c1',
    own: ['/sys/fs/resctrl/c1/mon_groups/c1', '/sys/fs/resctrl/c1'],
  });
  assert.deepEqual(rdtGroup('/r', 'c1', { closID: 'gold', schemata: ['MB:0=50'] }).own, []);
  assert.equal(rdtGroup('/r', 'c1', { closID: '/' }).directory, '/r');
});

test('the plan makes the group, writes each line by itself and the pid last', () => {
  const b = new PlanBuilder('x86_64');
  joinRdtGroup(b, rdtGroup('/r', 'c1', { schemata: ['L3:0=f', 'MB:0=20'] }), b.reg('pid'));
  const { ops } = b.build();
  const told = ops.flatMap((op) => (op.op === 'syscall' && op.name !== 'close' ? [`${op.name} ${op.doing}`] : []));
  assert.deepEqual(told, [
    'mkdirat making the resctrl group /r/c1',
    'openat writing "L3:0=f" to /r/c1/schemata',
    'openat writing "MB:0=20" to /r/c1/schemata',
    'openat joining the resctrl group /r/c1',
  ]);
});
