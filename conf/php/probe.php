<?php
/*
 * Tells whether PHP behind widget-gateway reads a form as the gateway believes it does.
 *
 * The gateway forwards a widget's request only if it knows the one value that PHP will see for each known
 * field. What PHP sees depends on these settings, which the gateway cannot know. So call this file once after
 * every change of the PHP set-up, the way a handler is called: in the handler's folder (a .user.ini or a
 * pool's php_admin_value counts there), by the same PHP, through the gateway:
 *
 *     [[routes]]
 *     path     = "= /probe.php"
 *     kind     = "pass"              # GET and HEAD
 *     upstream = "handlers"
 *
 *     curl -i https://widgets.example.com/probe.php
 *     curl -i 'https://widgets.example.com/probe.php?body_limit=8MiB&max_params=2000'
 *
 * The parameters are the values of [widget] in the gateway's configuration, needed only where they are not
 * the default. The answer is 200 if everything is sound, 500 if something is not, 400 if a parameter makes
 * no sense. It shows the settings below and nothing else; still, take the route out again afterwards.
 *
 * Written for PHP 7.0 and later, and for a PHP with as few extensions as can be: they are loaded by php.ini.
 */

/** A size such as 1MiB (the gateway), 8M (PHP) or 262144, in bytes; null if it is none. */
function size_in_bytes($text)
{
    if (!is_string($text) || !preg_match('/^\s*(\d{1,15})\s*(?:([kmg])(?:i?b)?)?\s*$/i', $text, $parts)) {
        return null;
    }
    $powers = ['' => 0, 'k' => 1, 'm' => 2, 'g' => 3];
    return (int) $parts[1] * 1024 ** $powers[strtolower($parts[2] ?? '')];
}

/** A switch: ini_get() gives what was written, which may be 1, On, yes, empty or nothing at all. */
function is_on($value)
{
    return in_array(strtolower(trim((string) $value)), ['1', 'on', 'yes', 'true'], true);
}

function answer($status, array $document)
{
    http_response_code($status);
    header('Content-Type: application/json');
    header('Cache-Control: no-store');
    echo json_encode($document, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES), "\n";
    exit;
}

// From the raw query: $_GET is one of the things in question.
$query = $_SERVER['QUERY_STRING'] ?? '';
$asked = function ($name, $default) use ($query) {
    return preg_match('/(?:^|&)' . $name . '=([^&]*)/', $query, $found) ? rawurldecode($found[1]) : $default;
};
$body_limit = size_in_bytes($asked('body_limit', '1MiB'));
$max_params = $asked('max_params', '1000');
if ($body_limit === null || !preg_match('/^\d{1,9}$/D', $max_params)) {
    answer(400, ['sound' => false, 'error' => 'body_limit is a size such as 1MiB, max_params a number']);
}
$max_params = (int) $max_params;

// Without request_order (no php.ini, as in a stock container image) variables_order counts for $_REQUEST.
$request_order = (string) ini_get('request_order');
$effective = strtoupper($request_order !== '' ? $request_order : (string) ini_get('variables_order'));
$variables = strtoupper((string) ini_get('variables_order'));
// ini_get() is false where the extension is not loaded, and so cannot do anything.
$filter = ini_get('filter.default');
$flags = ini_get('filter.default_flags');
$post_max = ini_get('post_max_size');
$post_bytes = size_in_bytes($post_max);

$settings = [
    'request_order' => [
        'ok' => preg_replace('/[^GPC]/', '', $effective) === 'GP',
        'value' => $request_order,
        'set' => 'request_order = "GP"',
        'why' => 'with C a cookie outranks the form in $_REQUEST; unset, variables_order counts, and it has C',
    ],
    'variables_order' => [
        'ok' => strpos($variables, 'G') !== false && strpos($variables, 'P') !== false,
        'value' => $variables,
        'set' => 'variables_order = "GPCS"',
        'why' => 'without G or P, $_GET or $_POST stays empty',
    ],
    'arg_separator.input' => [
        'ok' => ini_get('arg_separator.input') === '&',
        'value' => ini_get('arg_separator.input'),
        'set' => 'arg_separator.input = "&"',
        'why' => 'with another separator a value hides further fields',
    ],
    'mbstring.encoding_translation' => [
        'ok' => !is_on(ini_get('mbstring.encoding_translation')),
        'value' => ini_get('mbstring.encoding_translation'),
        'set' => 'mbstring.encoding_translation = Off',
        'why' => 'it rewrites names and values, and ends the body at a NUL',
    ],
    'filter.default' => [
        'ok' => $filter === false || $filter === '' || $filter === 'unsafe_raw',
        'value' => $filter,
        'set' => 'filter.default = unsafe_raw',
        'why' => 'a filter rewrites every value, PLACEMENT_OPTIONS first of all',
    ],
    'filter.default_flags' => [
        // Not a number or 0: no flag.
        'ok' => (int) $flags === 0,
        'value' => $flags,
        'set' => 'filter.default_flags =',
        'why' => 'flags let even unsafe_raw strip or encode bytes',
    ],
    'enable_post_data_reading' => [
        'ok' => is_on(ini_get('enable_post_data_reading')),
        'value' => ini_get('enable_post_data_reading'),
        'set' => 'enable_post_data_reading = On',
        'why' => 'without it $_POST stays empty and the query stands alone',
    ],
    'max_input_vars' => [
        'ok' => (int) ini_get('max_input_vars') >= $max_params,
        'value' => ini_get('max_input_vars'),
        'set' => "max_input_vars = $max_params",
        'why' => 'what comes after is dropped without a word; it must reach max_params of the gateway',
    ],
    'post_max_size' => [
        // 0 is no limit.
        'ok' => $post_bytes === 0 || ($post_bytes !== null && $post_bytes > $body_limit),
        'value' => $post_max,
        'set' => 'post_max_size = ' . max(8, intdiv($body_limit, 1024 * 1024) + 1) . 'M',
        'why' => 'a longer body leaves $_POST empty; it must be above body_limit of the gateway',
    ],
];

$sound = true;
foreach ($settings as &$setting) {
    $sound = $sound && $setting['ok'];
    if ($setting['ok']) {
        unset($setting['set'], $setting['why']);
    }
}
unset($setting);

answer($sound ? 200 : 500, [
    'sound' => $sound,
    'php' => PHP_VERSION,
    'sapi' => PHP_SAPI,
    'body_limit' => $body_limit,
    'max_params' => $max_params,
    'settings' => $settings,
]);
