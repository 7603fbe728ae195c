<?php
/*
 * Lets nobody in who does not come through widget-gateway.
 *
 * What the gateway tells a handler in headers is worth as much as it is certain who sent them: a neighbour on
 * the same network could send them too. With
 *
 *     [upstreams.handlers]
 *     proof = { header = "X-Gateway-Proof", secret_file = "proof.secret" }
 *
 * the gateway sends the content of the file with each request, and never what a client sent under that name.
 * Make the file once, the same for the gateway and for PHP, readable by these two alone:
 *
 *     head -c 32 /dev/urandom | base64 > proof.secret
 *
 * and have every script begin with this one, by a line of its own or for all of a pool at once:
 *
 *     php_admin_value[auto_prepend_file] = /etc/widget-gateway/proof.php
 *     env[GATEWAY_PROOF_FILE] = /etc/widget-gateway/proof.secret
 *
 * (in php.ini: auto_prepend_file and gateway.proof_file). Without either the file is the one of that line.
 *
 * To exchange the secret, write the new one behind the old one here, each on a line, then exchange it in the
 * gateway's file, which is noticed within a second, then take the old line away.
 *
 * Written for PHP 7.0 and later.
 */

(function () {
    $file = getenv('GATEWAY_PROOF_FILE') ?: get_cfg_var('gateway.proof_file') ?: '/etc/widget-gateway/proof.secret';
    $proof = isset($_SERVER['HTTP_X_GATEWAY_PROOF']) ? (string) $_SERVER['HTTP_X_GATEWAY_PROOF'] : '';
    foreach (preg_split('/\s+/', (string) @file_get_contents($file), -1, PREG_SPLIT_NO_EMPTY) as $secret) {
        // A short one is no secret: a file that is empty or missing lets nobody in.
        if (strlen($secret) >= 16 && hash_equals($secret, $proof)) {
            return;
        }
    }
    http_response_code(403);
    header('Content-Type: text/plain; charset=utf-8');
    exit("This address is served through its gateway.\n");
})();
