<?php
// Asks every reader of b24phpsdk that finds its kind of message in a request, and tells whose each takes it for.
// Texts are told in hex, since JSON takes only UTF-8.

use Bitrix24\SDK\Application\Requests\Placement\PlacementRequest;
use Bitrix24\SDK\Services\RemoteEventsFactory;
use Bitrix24\SDK\Services\Workflows\Robot\Request\IncomingRobotRequest;
use Psr\Log\NullLogger;
use Symfony\Component\HttpFoundation\Request;

require __DIR__ . '/tell.php';

spl_autoload_register(function (string $class): void {
    $folders = [
        'Bitrix24\\SDK\\' => 'b24phpsdk/src',
        'Symfony\\Component\\HttpFoundation\\' => 'http-foundation',
        'Psr\\Log\\' => 'log/src',
        'Money\\' => 'money/src',
    ];
    foreach ($folders as $prefix => $folder) {
        if (str_starts_with($class, $prefix)) {
            $file = strtr(substr($class, strlen($prefix)), '\\', '/');
            require getenv('KITS') . "/$folder/$file.php";
        }
    }
});

function placement(Request $request): array
{
    $placement = new PlacementRequest($request);
    return [
        'member_id' => $placement->getMemberId(),
        'domain' => substr($placement->getDomainUrl(), strlen('https://')),
        'client_endpoint' => $placement->getDomainUrl(),
        'access_token' => $placement->getAccessToken()->accessToken,
        'refresh_token' => $placement->getAccessToken()->refreshToken,
        'code' => $placement->getCode(),
    ];
}

function event(Request $request): array
{
    $event = RemoteEventsFactory::init(new NullLogger())->create($request);
    $auth = $event->getAuth();
    return [
        'member_id' => $auth->member_id,
        'domain' => $auth->domain,
        'client_endpoint' => $auth->client_endpoint,
        'access_token' => $auth->access_token,
        'application_token' => $auth->application_token,
        'code' => $event->getEventCode(),
    ];
}

function robot(Request $request): array
{
    $robot = IncomingRobotRequest::initFromRequest($request);
    return [
        'member_id' => $robot->auth->memberId,
        'domain' => $robot->auth->domain,
        'client_endpoint' => $robot->auth->endpoints->getClientUrl(),
        'access_token' => $robot->auth->accessToken->accessToken,
        'refresh_token' => $robot->auth->accessToken->refreshToken,
        'application_token' => $robot->auth->applicationToken,
        'event_token' => $robot->eventToken,
        'code' => $robot->code,
    ];
}

// A reader's warnings are not its answer.
ini_set('display_errors', '0');
$request = Request::createFromGlobals();
$readers = [
    'PlacementRequest' => [fn() => PlacementRequest::isCanProcess($request), 'placement'],
    'RemoteEventsFactory' => [fn() => RemoteEventsFactory::isCanProcess($request), 'event'],
    'IncomingRobotRequest' => [fn() => $request->request->has('event_token'), 'robot'],
];
$told = [];
foreach ($readers as $name => [$finds, $read]) {
    try {
        if ($finds()) {
            // What is no text is no opinion that a handler could act on.
            $texts = array_filter($read($request), 'is_string');
            $told[$name] = ['read' => (object)array_map('bin2hex', $texts)];
        }
    } catch (Throwable $thrown) {
        $told[$name] = ['refused' => get_class($thrown) . ': ' . $thrown->getMessage()];
    }
}
header('Content-Type: application/json');
echo json_encode((object)$told, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE);
