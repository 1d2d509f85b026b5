import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { checkMemoryPolicy, setMemoryPolicy } from './memory-policy.ts';

test('a policy that makes no sense is told, with what makes none', () => {
  const wrong = (mode: string, nodes?: string, flags?: string[]) =>
    checkMemoryPolicy({ mode, ...(nodes !== undefined && { nodes }), ...(flags && { flags }) });
  assert.equal(wrong('MPOL_BIND', '0-1,3', ['MPOL_F_STATIC_NODES']), undefined);
  assert.equal(wrong('MPOL_DEFAULT'), undefined);
  assert.equal(wrong('MPOL_PREFERRED'), undefined, 'without nodes it means the local one');
  assert.equal(wrong('INTERLEAVE', '0')?.key, 'mode');
  assert.equal(wrong('MPOL_BIND', '0', ['bad'])?.why, 'invalid memory policy flag "bad"');
  assert.match(wrong('MPOL_DEFAULT', '0-7')?.why ?? '', /mode requires 0 nodes but got 8/);
  assert.match(wrong('MPOL_INTERLEAVE')?.why ?? '', /at least 1 node/);
  for (const nodes of ['0-9876543210', '3-1', 'x', '0:1', '-1'])
    assert.match(wrong('MPOL_BIND', nodes)?.why ?? '', /invalid memory policy node/, nodes);
});

test('nodes are bits of the mask, flags go with the mode', () => {
  const b = new PlanBuilder('x86_64');
  setMemoryPolicy(b, { mode: 'MPOL_INTERLEAVE', nodes: '0-1,9', flags: ['MPOL_F_RELATIVE_NODES'] });
  const { ops, blobs } = b.build();
  const [op] = ops;
  assert.ok(op?.op === 'syscall' && op.name === 'set_mempolicy');
  assert.equal(op.args[0], 3 | (1 << 14));
  assert.deepEqual([...(blobs[0]?.init.subarray(0, 3) ?? [])], [3, 2, 0]);
  assert.equal(op.args[2], 1025);
});
