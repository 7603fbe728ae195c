<?php
// What the gateway established stands in headers that no client can write.
$member = $_SERVER['HTTP_X_BITRIX24_MEMBER_ID'] ?? null;
if ($member === null) {
    http_response_code(403);
    exit('This is no call that the gateway checked.');
}
$text = fn (string $name): string => htmlspecialchars($_SERVER[$name] ?? '', ENT_QUOTES);
header('Content-Type: text/html; charset=utf-8');
?>
<!doctype html>
<meta charset="utf-8">
<title>A widget</title>
<p>Hello <?= $text('HTTP_X_BITRIX24_DOMAIN') ?>, this is <?= $text('HTTP_X_BITRIX24_PLACEMENT') ?>.
