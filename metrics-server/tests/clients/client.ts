// Records a batch and reads reports with a client that openapi-typescript generates. Run with the URL of a server.
import assert from 'node:assert/strict'
import createClient from 'openapi-fetch'
import type { components, paths } from './api.js'

const key = 'HDsj3NfKQTNwn5Ix9g+cfQ=='
const identifier = 'typescript'
const client = createClient<paths>({ baseUrl: process.argv[2] ?? '' })

function event(session: string, name: string, second: number): components['schemas']['Event'] {
  return { name, session_id: session, embed_id: identifier, video_time: second, duration: 60, key }
}

const recorded = await client.POST('/api/v1/events', {
  body: {
    events: [
      event('typescript-1', 'play', 0),
      event('typescript-1', 'pause', 30),
      event('typescript-2', 'play', 0),
      event('typescript-2', 'pause', 10),
      event('typescript-2', 'pause', -1),
    ],
  },
})
assert.equal(recorded.data?.accepted, 4, JSON.stringify(recorded))
assert.deepEqual(recorded.data.rejected.map((it) => it.index), [4])

for (const answer of [
  await client.POST('/api/v1/plays', { body: { identifier } }),
  await client.GET('/api/v1/plays', { params: { query: { identifier: [identifier] } } }),
]) {
  const [bucket] = answer.data?.views ?? []
  assert.deepEqual([bucket?.views, bucket?.total_view_time, bucket?.browser.other], [2, 40, 2])
}

const engagement = await client.POST('/api/v1/engagement', { body: { identifier, ranges: 2 } })
const parts = engagement.data?.engagement ?? []
assert.deepEqual(parts.map((it) => ('viewers' in it ? it.viewers : undefined)), [2, 1])

const query: components['schemas']['QueryParameters'] = {
  metrics: ['plays', 'view_time', 'startup_time_p50'],
  dimensions: ['video'],
  filters: ['is', 'video', [identifier]],
}
for (const answer of [
  await client.POST('/api/v1/query', { body: query }),
  await client.GET('/api/v1/query', { params: { query: { q: JSON.stringify(query) } } }),
]) {
  assert.deepEqual(answer.data?.results, [{ dimensions: [identifier], metrics: [2, 40, null] }])
  assert.equal(answer.data.meta.rows, 1)
}

const refused = await client.POST('/api/v1/plays', { body: { identifier, interval: 'never' } })
assert.equal(refused.response.status, 400)
assert.match(refused.error?.error ?? '', /`interval`/)

const exported = await client.POST('/api/v1/export/sessions', { body: { identifier, format: 'ndjson' }, parseAs: 'text' })
assert.equal(exported.data?.trimEnd().split('\n').length, 2)
console.log('the client in TypeScript reads what it records')
