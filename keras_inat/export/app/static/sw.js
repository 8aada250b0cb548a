// Keeps the page for use without a network. The page itself comes from the network if there is one, so that a new version
// is seen at once. Its other files carry their version in their address and never change.
"use strict";

const PREFIX = `keras-inat ${self.registration.scope} `;  // several apps may share a host
const NAME = `${PREFIX}{version}`;
const FILES = {files};

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const removeOld = async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== NAME).map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(removeOld());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(self.registration.scope)) return;
  const answer = async () => {
    const cache = await caches.open(NAME);
    const isPage = request.mode === "navigate";
    const kept = await cache.match(isPage ? "./" : request);
    if (kept && !isPage) return kept;
    return fetch(request).catch((error) => {
      if (kept) return kept;
      throw error;
    });
  };
  event.respondWith(answer());
});
