// What the other sides of `bench browser` share: a server for one page and the files behind it, which prints the page's address.

import {createReadStream, statSync} from "node:fs";
import {createServer} from "node:http";

export const type = {
    js: "text/javascript",
    json: "application/json",
    wasm: "application/wasm",
    bytes: "application/octet-stream",
};

// `files` holds for each path a file and its type.
export const serve = (page, files) => {
    const server = createServer((request, response) => {
        // Without these a page has no shared memory, and its wasm one thread.
        response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
        response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
        const {pathname} = new URL(request.url, "http://localhost");
        if (pathname === "/") {
            response.setHeader("Content-Type", "text/html");
            response.end(page);
        } else if (pathname in files) {
            const [file, kind] = files[pathname];
            response.setHeader("Content-Type", kind);
            response.setHeader("Content-Length", statSync(file).size);
            createReadStream(file).pipe(response);
        } else {
            response.statusCode = 404;
            response.end();
        }
    });
    server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
};
