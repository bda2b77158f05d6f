// A js-libp2p peer that is no member: `node peer.mjs MULTIADDR` prints what it reached, as JSON.
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

// Node 20 has all but this.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((one, other) => { resolve = one; reject = other })
  return { promise, resolve, reject }
}

const refused = [
  '/oxigdal-ha/ctl/1', '/oxigdal-ha/sync/1', '/libp2p/circuit/relay/0.2.0/hop', '/libp2p/circuit/relay/0.2.0/stop',
  '/libp2p/dcutr', '/ipfs/kad/1.0.0', '/meshsub/1.1.0', '/libp2p/autonat/2/dial-request'
]

const node = await createLibp2p({
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping() }
})
const identified = new Promise((resolve) => node.addEventListener('peer:identify', (told) => resolve(told.detail)))
const connection = await node.dial(multiaddr(process.argv[2]))
const { agentVersion, protocolVersion, protocols } = await identified
const ping_ms = await node.services.ping.ping(connection.remotePeer)

const reached = []
for (const protocol of refused) {
  try {
    const stream = await connection.newStream(protocol)
    // It is agreed on optimistically: only an answer shows that it is spoken.
    stream.send(new Uint8Array([0]))
    for await (const _ of stream) reached.push(protocol)
  } catch (error) {
    if (error.name !== 'UnsupportedProtocolError') reached.push(`${protocol}: ${error.name}`)
  }
}

// A request that is no ticket: the answer is a refusal, and the end of the connection.
const closed = new Promise((resolve) => connection.addEventListener('close', () => resolve(true)))
const admit = await connection.newStream('/oxigdal-ha/admit/1')
admit.send(new Uint8Array([3, 0, 0, 0, 3, 255, 255]))
let answered = 0
try {
  for await (const chunk of admit) answered += chunk.byteLength
} catch {}
console.log(JSON.stringify({ agentVersion, protocolVersion, protocols, ping_ms, reached, answered, closed: await closed }))
await node.stop()
