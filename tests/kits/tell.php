<?php
// What the gateway told the handler stands in its answer too.
foreach ($_SERVER as $name => $value) {
    if (str_starts_with($name, 'HTTP_X_BITRIX24_')) {
        header(strtr(substr($name, 5), '_', '-') . ": $value");
    }
}
