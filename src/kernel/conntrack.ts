/** The connection tracking table (ctnetlink) as messages. Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_conntrack_netlink.c. */
import { be16, nested, NLA_F_NESTED, NLM_F_ACK, u32, u8, type Message } from './netlink.ts';

const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_DELETE = 2;
const CTA_TUPLE_ORIG: number = 1 | NLA_F_NESTED;
const CTA_TUPLE_PROTO: number = 2 | NLA_F_NESTED;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_DST_PORT = 3;
const CTA_FILTER: number = 25 | NLA_F_NESTED;
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_REPLY_FLAGS = 2;
/** What of the tuple is compared: nf_internals.h, CTA_FILTER_F_CTA_PROTO_NUM and …_DST_PORT. */
const protocolAndPort: number = (1 << 3) | (1 << 5);

/**
 * Forgets every connection to a port, whatever its addresses. The port may be a slot (two bytes, network order), to be filled in
 * later. EINVAL before Linux 6.12, which can't choose by port.
 */
export function forgetConnections(family: number, protocol: number, port: number | { readonly slot: string }): Message {
  const portAttribute =
    typeof port === 'number'
      ? be16(CTA_PROTO_DST_PORT, port)
      : { ...be16(CTA_PROTO_DST_PORT, 0), slots: [{ name: port.slot, at: 0 }] };
  return {
    type: (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE,
    flags: NLM_F_ACK,
    // struct nfgenmsg; the family counts from version 1 on
    header: Uint8Array.of(family, 1, 0, 0),
    attributes: [
      nested(CTA_TUPLE_ORIG, [nested(CTA_TUPLE_PROTO, [u8(CTA_PROTO_NUM, protocol), portAttribute])]),
      nested(CTA_FILTER, [u32(CTA_FILTER_ORIG_FLAGS, protocolAndPort), u32(CTA_FILTER_REPLY_FLAGS, 0)]),
    ],
  };
}
