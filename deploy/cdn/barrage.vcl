vcl 4.1;

# Varnish as a cache for Barrage's segments; docs/cdn.md explains it. Start it with `-p http_gzip_support=off`: the server
# compresses each object once, better than Varnish would, and Varnish then leaves Accept-Encoding to this file.
#
# Goes with `limits.trusted_proxies`, which must name this machine on every node: a cache's address asks for everybody.

backend barrage {
    .host = "127.0.0.1";
    .port = "8080";
    .connect_timeout = 2s;
    # A segment under way is held until it is sealed.
    .first_byte_timeout = 15s;
}

sub vcl_recv {
    if (req.http.Upgrade ~ "(?i)websocket") {
        return (pipe);
    }
    if ((req.method == "GET" || req.method == "HEAD") &&
        req.url ~ "^(/s/[^/?]+)?/api/v1/rooms/[^/?]+/(live/[0-9]+|ranking\.top|sessions/[^/?]+/segments/[^?]+)(\?|$)") {
        # The address says everything: a query or a token would make a copy for each viewer.
        set req.url = regsub(req.url, "\?.*$", "");
        unset req.http.Authorization;
        unset req.http.Cookie;
        unset req.http.X-Forwarded-For;
        # What clients write differs; what the server makes does not.
        if (req.http.Accept-Encoding ~ "(?i)(^|,)\s*br\s*(,|$)") {
            set req.http.Accept-Encoding = "br";
        } elsif (req.http.Accept-Encoding ~ "(?i)(^|,)\s*zstd\s*(,|$)") {
            set req.http.Accept-Encoding = "zstd";
        } elsif (req.http.Accept-Encoding ~ "(?i)(^|,)\s*gzip\s*(,|$)") {
            set req.http.Accept-Encoding = "gzip";
        } else {
            set req.http.Accept-Encoding = "identity";
        }
        if (req.http.Accept ~ "application/x-protobuf") {
            set req.http.Accept = "application/x-protobuf";
        } elsif (req.http.Accept ~ "application/vnd\.barrage\.segment\.v1") {
            set req.http.Accept = "application/vnd.barrage.segment.v1";
        } else {
            set req.http.Accept = "application/json";
        }
        return (hash);
    }
    return (pass);
}

sub vcl_pipe {
    set bereq.http.Upgrade = req.http.Upgrade;
    set bereq.http.Connection = req.http.Connection;
}

sub vcl_backend_response {
    # Never older than the server says: what was deleted must go.
    set beresp.grace = 0s;
    set beresp.keep = 60s;
    if (beresp.http.Cache-Control ~ "no-store|private") {
        # An error is for nobody else; the next request asks anew.
        set beresp.ttl = 1s;
        set beresp.uncacheable = true;
        return (deliver);
    }
}

sub vcl_deliver {
    set resp.http.X-Cache = "MISS";
    if (obj.hits > 0) {
        set resp.http.X-Cache = "HIT";
    }
}
