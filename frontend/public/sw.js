// The page's offline copy: one cache for each build. The build step writes the build's id and its files into the two blanks,
// so every build is another script, and the browser installs it anew.
// Pages and data come from the server while it answers; files of a build never change and come from the cache.
"use strict";

const BUILD = "__BUILD_ID__";
const FILES = "__FILES__";
const CACHE = `hearth-${BUILD}`;
// Outlives builds: model weights do not change with the page.
const MODELS = "hearth-models";
// What the lab must know to come up without a server.
const LISTS = ["/v1/models", "/v1/hearth/system"];
// Larger models live in the page's own storage, where downloads can be resumed.
const LARGEST_KEPT = 16 * 1024 * 1024;
self.addEventListener("install", (event) => {
    event.waitUntil(precache().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
    event.waitUntil((async () => {
        for (const name of await caches.keys()) {
            if (name.startsWith("hearth-") && name !== CACHE && name !== MODELS) await caches.delete(name);
        }
        await self.clients.claim();
    })());
});

self.addEventListener("message", (event) => {
    if (!Array.isArray(event.data?.keep)) return;
    const headers = event.data.key ? { authorization: `Bearer ${event.data.key}` } : {};
    event.waitUntil(keep(event.data.keep, headers));
});

self.addEventListener("fetch", (event) => {
    const { request } = event;
    const url = new URL(request.url);
    if (request.method !== "GET" || url.origin !== self.location.origin) return;
    if (request.headers.has("range") || request.headers.get("accept") === "text/event-stream") return;
    if (request.mode === "navigate") {
        event.respondWith(serverFirst(request, CACHE, "/"));
    } else if (url.pathname.startsWith("/v1/hearth/files/")) {
        event.respondWith(cacheFirst(request, MODELS, false));
    } else if (LISTS.includes(url.pathname)) {
        event.respondWith(serverFirst(request, CACHE, url.pathname));
    } else if (!url.pathname.startsWith("/v1/") && /\.[a-z0-9]+$/.test(url.pathname)) {
        event.respondWith(cacheFirst(request, CACHE, true));
    }
});

async function precache() {
    const cache = await caches.open(CACHE);
    const files = Array.isArray(FILES) ? FILES : ["/"];
    await Promise.all(files.map(async (url) => {
        const response = await fetch(url, { cache: "no-cache" });
        if (url === "/" ? response.ok : isFile(response)) await cache.put(url, response);
    }));
}

// A server that answers every unknown path with the page must not put HTML in place of a missing file.
function isFile(response) {
    return response.ok && !(response.headers.get("content-type") || "").startsWith("text/html");
}

async function keep(urls, headers) {
    // The first visit asked for these before this worker stood between page and server.
    const lists = await caches.open(CACHE);
    for (const url of LISTS) {
        try {
            const response = await fetch(url, { headers });
            if (response.ok) await lists.put(url, response);
        } catch {
            // The next visit asks again.
        }
    }
    const models = await caches.open(MODELS);
    for (const url of urls) {
        // The page's own files go with its build, a model's stand under the hash of their contents.
        const cache = url.startsWith("/v1/") ? models : lists;
        if (await cache.match(url)) continue;
        try {
            const response = await fetch(url, { headers });
            const size = Number(response.headers.get("content-length") || 0);
            if (isFile(response) && size <= LARGEST_KEPT) await cache.put(url, response);
        } catch {
            // The next visit asks again.
        }
    }
}

async function cacheFirst(request, name, store) {
    const cache = await caches.open(name);
    const hit = await cache.match(request, { ignoreSearch: true });
    if (hit) return hit;
    const response = await fetch(request);
    if (store && isFile(response)) await cache.put(request, response.clone());
    return response;
}

async function serverFirst(request, name, key) {
    const cache = await caches.open(name);
    try {
        const response = await fetch(request);
        if (response.ok) await cache.put(key, response.clone());
        return response;
    } catch (error) {
        const hit = await cache.match(key);
        if (!hit) throw error;
        const headers = new Headers(hit.headers);
        headers.set("x-hearth-stale", "1");
        return new Response(hit.body, { status: 200, headers });
    }
}
